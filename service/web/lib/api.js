/** Calls the service's HTTP API and describes its responses as types. */

import * as apiKey from "./api_key.js";

/**
 * @typedef {{ label: string, index: number, probability: number }} Prediction
 * @typedef {object} Neighbour
 * @property {string} id
 * @property {string} label
 * @property {number} score cosine similarity
 * @property {string | null} image
 * @property {number[][]} [heat] conv2: 8 rows of 8 terms that add up to the score
 * @property {number[]} [terms] logits: one term a class, adding up to the score
 * @typedef {{ id: string, label: string, predicted: string | null, image: string | null }} Item
 * @typedef {object} Classification
 * @property {Prediction[]} predictions best first
 * @property {number | null} [novelty] share of held-out images that are more familiar
 * @property {boolean | null} [familiar]
 * @typedef {object} Model
 * @property {string} name
 * @property {string} version
 * @property {string} run_id
 * @property {string[]} classes
 * @property {{ test_accuracy: number | null, test_count: number }} metrics
 * @property {{ gallery_from: string }} dataset
 * @property {{ size: number, pixels: boolean }} gallery
 * @typedef {{ mean: number, std: number | null, n: number }} RunStats
 * @typedef {object} Experiment
 * @property {string} name
 * @property {string | null} published_name
 * @property {number} conv_blocks
 * @property {string} regularizer
 * @property {number} runs
 * @property {number} [collapsed]
 * @property {RunStats | null} validation_accuracy
 * @property {RunStats | null} test_accuracy
 * @property {RunStats | null} training_seconds
 * @property {{ training_seconds: number, validation_accuracy: number, test_accuracy: number } | null} published
 * @typedef {{ first: string, second: string, p: number | null, words: string }} Comparison
 * @typedef {{ count: number, accuracy: number, confusion_matrix: number[][] | null, confusions?: number[][] }} Evaluation rows are true classes
 * @typedef {object} LayerRetrieval
 * @property {number} dimension
 * @property {number} queries
 * @property {{ precision_at_10: number, mean_average_precision: number }} overall
 * @typedef {object} Run
 * @property {string} run_id
 * @property {{ name: string }} dataset
 * @property {Evaluation | null} test
 * @property {Record<string, LayerRetrieval> | null} retrieval by layer, from the first to the last
 */

/** Layers that the page searches, in the order of the network. */
export const LAYERS = ["conv2", "logits"];

/** Statuses worth a retry; 0 stands for a failed connection. */
const RETRYABLE = new Set([0, 429, 502, 503, 504]);

/** An error response of the service. Its message is the problem's detail. */
export class ApiError extends Error {
  /** @param {string} message @param {number} [status] 0 without a response @param {string | null} [retryAfter] seconds */
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = Number(retryAfter) || 0;
    this.retryable = RETRYABLE.has(status);
  }
}

/** The path of the service: `/`, or what a proxy puts before it. */
const BASE = new URL("../../", import.meta.url).pathname;

/**
 * Return the address of a path of the service.
 * @param {string} path such as `/model`
 */
export const address = (path) => BASE + path.slice(1);

/** @param {string} image as in a response, with or without what a proxy puts before it */
const imagePath = (image) => image.slice(image.search(/\/gallery\/[^/]+\/image(\?|$)/));

/** @param {string} image as in a response @returns {string} its address */
export const imageAddress = (image) => address(imagePath(image));

const connectionError = () => new ApiError("The service does not answer. Is it still running?");

/**
 * Send a request with the API key. Throw an `ApiError` unless it succeeds.
 * @param {string} path @param {RequestInit} options @returns {Promise<Response>}
 */
async function send(path, options) {
  let response;
  try {
    response = await fetch(address(path), { ...options, headers: { ...options.headers, ...apiKey.header() } });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw connectionError();
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail || problem.title || `The service answered ${response.status}.`;
  throw new ApiError(message, response.status, response.headers.get("Retry-After"));
}

/** @param {string} path @param {AbortSignal} [signal] */
async function get(path, signal) {
  return (await send(path, { signal, headers: { Accept: "application/json" } })).json();
}

/** @param {string} path @param {Blob} image @param {AbortSignal} signal */
async function post(path, image, signal) {
  const headers = { "Content-Type": image.type || "application/octet-stream" };
  return (await send(path, { method: "POST", body: image, headers, signal })).json();
}

/** @returns {Promise<Model>} */
export const model = () => get("/model");

/**
 * Remove image URLs if the bundle has no pixels, so that no request for them fails.
 * @template {{ image: string | null }} T
 * @param {T[]} items @param {Model} model
 * @returns {T[]}
 */
export function withoutMissingImages(items, { gallery }) {
  return gallery.pixels ? items : items.map((item) => ({ ...item, image: null }));
}

/**
 * Classify an image and search for its neighbours at each of `LAYERS`.
 * @param {Blob} image @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<Classification & { similar: Record<string, Neighbour[]> }>}
 */
export function predict(image, limit, signal) {
  const layers = LAYERS.join(",");
  return post(`/predict?limit=${limit}&layers=${layers}&explain=true`, image, signal);
}

/**
 * Classify an image without searching.
 * @param {Blob} image @param {number} topK @param {AbortSignal} signal
 * @returns {Promise<Classification>}
 */
export const classify = (image, topK, signal) => post(`/classify?top_k=${topK}`, image, signal);

/** @param {string} id @param {AbortSignal} signal @returns {Promise<Item>} */
export const item = (id, signal) => get(`/gallery/${encodeURIComponent(id)}`, signal);

/**
 * Fetch an image of the gallery.
 * @param {string} image as in a response @param {AbortSignal} [signal] @param {"thumbnail" | "network"} [size]
 * @returns {Promise<Blob>}
 */
export async function imageBytes(image, signal, size = "thumbnail") {
  const path = imagePath(image);
  return (await send(`${path}${path.includes("?") ? "&" : "?"}size=${size}`, { signal })).blob();
}

/**
 * Search for the neighbours of a gallery image at one layer.
 * @param {string} id @param {string} layer @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<{ similar: Neighbour[] }>}
 */
export function similarTo(id, layer, limit, signal) {
  const params = new URLSearchParams({ layer, limit: String(limit), explain: "true" });
  return get(`/gallery/${encodeURIComponent(id)}/similar?${params}`, signal);
}

/**
 * List one page of the gallery.
 * @param {{ label?: string, predicted?: string, cursor?: string, limit: number }} filter @param {AbortSignal} signal
 * @returns {Promise<{ items: Item[], next: string | null }>}
 */
export function gallery({ label, predicted, cursor, limit }, signal) {
  const params = new URLSearchParams({ limit: String(limit) });
  if (label) params.set("label", label);
  if (predicted) params.set("predicted", predicted);
  if (cursor) params.set("cursor", cursor);
  return get(`/gallery?${params}`, signal);
}

/** @param {AbortSignal} signal @returns {Promise<{ experiments: Experiment[], comparisons: Comparison[] }>} */
export const experiments = (signal) => get("/experiments", signal);

/** @param {string} name @param {AbortSignal} signal @returns {Promise<{ records: Run[] }>} */
export const runs = (name, signal) => get(`/experiments/${encodeURIComponent(name)}`, signal);

/**
 * Fetch the learning curves of all experiments as an SVG element. XMLHttpRequest lets the browser
 * parse it, because the Content-Security-Policy forbids the page to turn text into elements.
 * @param {string} quantity @param {AbortSignal} signal
 * @returns {Promise<SVGSVGElement>}
 */
export function curvesSvg(quantity, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address(`/experiments/curves/${quantity}.svg`));
    request.responseType = "document";
    for (const [name, value] of Object.entries(apiKey.header())) request.setRequestHeader(name, value);
    request.onload = () => {
      if (request.status === 200 && request.responseXML) resolve(document.importNode(request.responseXML.documentElement, true));
      else reject(new ApiError(`The service answered ${request.status}.`, request.status, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(connectionError());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send();
  });
}

/**
 * Turn a 404 into null.
 * @template T @param {Promise<T>} response @returns {Promise<T | null>}
 */
export const nullIfNotFound = (response) =>
  response.catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });

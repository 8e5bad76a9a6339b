/** Calls the service's HTTP API and describes its responses as types. */

import * as apiKey from "./api_key.js";
import { UNREACHABLE, saying } from "./problems.js";

/**
 * @typedef {{ label: string, index: number, probability: number }} Prediction
 * @typedef {object} Neighbour
 * @property {string} id
 * @property {string | null} label null if it has none
 * @property {number} score cosine similarity
 * @property {string | null} image null if its pixels are not stored
 * @property {string | null} [reconstruction] path of a picture drawn from its vector
 * @property {number[][]} [heat] rows of terms, one a place, that add up to the score
 * @property {number[]} [terms] one term a dimension, adding up to the score
 * @typedef {object} Item
 * @property {string} id
 * @property {string | null} label null if it has none
 * @property {string | null} predicted
 * @property {string | null} image
 * @property {string | null} [reconstruction]
 * @property {boolean} [label_predicted]
 * @property {"bundle" | "added"} [source]
 * @typedef {{ first: Item, second: Item, score: number }} Pair
 * @typedef {Item & { doubt: number, nearest: Record<string, number> }} DoubtfulItem
 * @typedef {object} Classification
 * @property {Prediction[]} predictions best first, none if the bundle has no classes
 * @property {number | null} [novelty] share of held-out images that are more familiar
 * @property {boolean | null} [familiar]
 * @typedef {object} LayerCard
 * @property {string} name
 * @property {string} title
 * @property {string} description what it makes alike
 * @property {"places" | "query_places" | "classes" | null} explanation what its scores are sums over
 * @typedef {object} Model
 * @property {string} name
 * @property {string} version
 * @property {string | null} run_id
 * @property {string[]} classes none if nothing was trained: then images are searched alone
 * @property {{ test_accuracy: number | null, test_count: number } | null} metrics null without classes
 * @property {{ gallery_from: string, trained_on: string | null }} dataset
 * @property {{ size: number, pixels: boolean, layers: Record<string, { dimension: number }> }} gallery
 * @property {{ side: number, formats: string[] }} input
 * @property {LayerCard[]} layers
 * @property {{ layers: Record<string, { trustworthiness: number }> } | null} [map]
 * @property {{ layers: Record<string, { psnr: number, ssim: number }> } | null} [reconstruction]
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
 * @property {string} experiment
 * @property {{ name: string }} dataset
 * @property {Record<string, number | null>[]} [curves] one object an epoch
 * @property {Evaluation | null} test
 * @property {Record<string, LayerRetrieval> | null} retrieval by layer, from the first to the last
 */

/** @param {Model} model @returns {string[]} the layers that can be searched, from the first to the last */
export const searchable = ({ gallery }) => Object.keys(gallery.layers);

/** @param {Model} model @param {string} layer @returns {LayerCard} how it is called, and what its scores are sums over */
export const layerCard = (model, layer) => model.layers.find(({ name }) => name === layer) ?? { name: layer, title: layer, description: "", explanation: null };

/** Statuses worth a retry; 0 stands for a failed connection. */
const RETRYABLE = new Set([0, 429, 502, 503, 504]);

/** An error response of the service. Its message is for people. */
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
const imagePath = (image) => image.slice(image.search(/\/gallery\/[^/]+\/(image|reconstruction)(\?|$)/));

/** @param {string} image as in a response @returns {string} its address */
export const imageAddress = (image) => address(imagePath(image));

const connectionError = () => new ApiError(UNREACHABLE);

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
  throw new ApiError(saying(problem, response.status), response.status, response.headers.get("Retry-After"));
}

/** @param {string} path @param {AbortSignal} [signal] */
async function get(path, signal) {
  return (await send(path, { signal, headers: { Accept: "application/json" } })).json();
}

/** @param {string} path @param {Blob | null} image @param {AbortSignal} [signal] */
async function post(path, image, signal) {
  const headers = image && { "Content-Type": image.type || "application/octet-stream" };
  return (await send(path, { method: "POST", body: image, headers, signal })).json();
}

/** @returns {Promise<Model>} */
export const model = () => get("/model");

/**
 * Classify an image and search for its neighbours.
 * @param {Blob} image @param {string[]} layers @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<Classification & { similar: Record<string, Neighbour[]> }>}
 */
export function predict(image, layers, limit, signal) {
  return post(`/predict?limit=${limit}&layers=${layers.join(",")}&explain=true`, image, signal);
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
 * @param {string} image as in a response @param {AbortSignal} [signal] @param {"network"} [size] what the network sees
 * @returns {Promise<Blob>}
 */
export async function imageBytes(image, signal, size) {
  const path = imagePath(image);
  return (await send(size ? `${path}${path.includes("?") ? "&" : "?"}size=${size}` : path, { signal })).blob();
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
 * Search at one layer for what is like an image and the examples, and unlike others.
 * @param {Blob | null} image @param {{ more: string[], less: string[] }} examples ids
 * @param {string} layer @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<{ similar: Neighbour[] }>}
 */
export function recommend(image, { more, less }, layer, limit, signal) {
  const params = new URLSearchParams({ layer, limit: String(limit), explain: "true", exclude_self: "true" });
  more.forEach((id) => params.append("positive", id));
  less.forEach((id) => params.append("negative", id));
  return post(`/similar?${params}`, image, signal);
}

/** @param {Record<string, string | number | undefined>} fields @returns {URLSearchParams} of those that have a value */
const given = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => [name, String(value)]));

/**
 * List one page of the gallery.
 * @param {{ label?: string, predicted?: string, source?: string, cursor?: string, limit: number }} filter @param {AbortSignal} signal
 * @returns {Promise<{ items: Item[], next: string | null }>}
 */
export const gallery = (filter, signal) => get(`/gallery?${given(filter)}`, signal);

/**
 * Find near-duplicates among the images after a cursor.
 * @param {{ layer: string, threshold: number, cursor?: string }} options @param {AbortSignal} signal
 * @returns {Promise<{ pairs: Pair[], looked_at: number, next: string | null }>}
 */
export const duplicates = (options, signal) => post(`/gallery/duplicates?limit=1000&${given(options)}`, null, signal);

/**
 * Find labels in doubt among the images after a cursor.
 * @param {Record<string, string | undefined>} options @param {AbortSignal} signal
 * @returns {Promise<{ items: DoubtfulItem[], looked_at: number, next: string | null }>}
 */
export const doubtful = (options, signal) => get(`/gallery/doubtful?${given(options)}`, signal);

/** @param {Blob} image @param {string | undefined} label the network's own by default @returns {Promise<Item & { outcome: string }>} */
export const add = (image, label) => post(`/gallery?${given({ label })}`, image);

/**
 * Change an image's label or attributes.
 * @param {string} id @param {{ label?: string | null, attributes?: Record<string, string | null> }} change
 * @returns {Promise<Item>}
 */
export async function edit(id, change) {
  const headers = { "Content-Type": "application/json" };
  return (await send(`/gallery/${encodeURIComponent(id)}`, { method: "PATCH", body: JSON.stringify(change), headers })).json();
}

/** @param {string} id @returns {Promise<unknown>} also if the page is left in the meantime */
export const remove = (id) => send(`/gallery/${encodeURIComponent(id)}`, { method: "DELETE", keepalive: true });

/** @param {Blob} image @param {string} layer @param {AbortSignal} [signal] @returns {Promise<Blob>} the picture that the layer keeps */
export async function reconstruct(image, layer, signal) {
  const options = { method: "POST", body: image, headers: { "Content-Type": image.type || "application/octet-stream" }, signal };
  return (await send(`/reconstruct?layer=${layer}`, options)).blob();
}

/** @param {string} id @param {string} layer @returns {string} path of the picture that a layer keeps of a gallery image */
export const reconstructionPath = (id, layer) => `/gallery/${encodeURIComponent(id)}/reconstruction?layer=${layer}`;

/**
 * @typedef {{ layer: string, revision: string, count: number, x: (number | null)[], y: (number | null)[], ids?: string[], labels?: string[], label?: (number | null)[], predicted?: (number | null)[], added?: number[] }} Layout
 * @typedef {{ x: number, y: number, nearest: { id: string, label: string | null, score: number, x: number, y: number }[] }} Place
 */

/** @param {string} layer @param {boolean} ids @param {AbortSignal} signal @returns {Promise<Layout>} */
export const map = (layer, ids, signal) => get(`/map?layer=${layer}&ids=${ids}`, signal);

/** @param {Blob} image @param {number} limit @param {AbortSignal} signal @returns {Promise<{ places: Record<string, Place> }>} */
export const place = (image, limit, signal) => post(`/map?limit=${limit}`, image, signal);

/** @param {AbortSignal} signal @returns {Promise<{ experiments: Experiment[], comparisons: Comparison[] }>} */
export const experiments = (signal) => get("/experiments", signal);

/** @param {string} name @param {AbortSignal} [signal] @returns {Promise<{ records: Run[] }>} */
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

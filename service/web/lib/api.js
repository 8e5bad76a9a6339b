/** The service's calls, as the page needs them. */

import * as key from "./api_key.js";

/**
 * @typedef {{ label: string, index: number, probability: number }} Prediction
 * @typedef {object} Neighbour
 * @property {string} id
 * @property {string} label
 * @property {number} score cosine
 * @property {string | null} image
 * @property {number[][]} [heat] conv2: 8 rows of 8 terms that add up to the score
 * @property {number[]} [terms] logits: one term a class, adding up to the score
 * @typedef {{ id: string, label: string, predicted: string | null, image: string | null }} Item
 * @typedef {object} Said what the network says of a picture
 * @property {Prediction[]} predictions best first
 * @property {number | null} [novelty] the share of held-out pictures that lie less far from what it knows
 * @property {boolean | null} [familiar]
 * @typedef {object} Model
 * @property {string} name
 * @property {string} version
 * @property {string} run_id
 * @property {string[]} classes
 * @property {{ test_accuracy: number | null, test_count: number }} metrics
 * @property {{ gallery_from: string }} dataset
 * @property {{ size: number, pixels: boolean }} gallery
 * @typedef {{ mean: number, std: number | null, n: number }} Spread
 * @typedef {object} Experiment
 * @property {string} name
 * @property {string | null} published_name
 * @property {number} conv_blocks
 * @property {string} regularizer
 * @property {number} runs
 * @property {number} [collapsed]
 * @property {Spread | null} validation_accuracy
 * @property {Spread | null} test_accuracy
 * @property {Spread | null} training_seconds
 * @property {{ training_seconds: number, validation_accuracy: number, test_accuracy: number } | null} published
 * @typedef {{ count: number, accuracy: number, confusion_matrix: number[][] | null, confusions?: number[][] }} Evaluation rows are true classes
 * @typedef {object} Layer
 * @property {number} dimension
 * @property {number} queries
 * @property {{ precision_at_10: number, mean_average_precision: number }} overall
 * @typedef {object} Run
 * @property {string} run_id
 * @property {{ name: string }} dataset
 * @property {Evaluation | null} test
 * @property {Record<string, Layer> | null} retrieval by layer, from the first to the last
 */

/** The two layers that the page shows, in the order of the network. */
export const LAYERS = ["conv2", "logits"];

/** No answer, too busy, or not now: what may be otherwise in a moment. */
const PASSING = new Set([0, 429, 502, 503, 504]);

/** A refusal of the service, in its own words; status 0 where it did not answer at all. */
export class Refusal extends Error {
  /** @param {string} said @param {number} [status] @param {string | null} [wait] seconds */
  constructor(said, status = 0, wait = null) {
    super(said);
    this.status = status;
    this.wait = Number(wait) || 0;
    this.passes = PASSING.has(status);
  }
}

const unanswered = () => new Refusal("The service does not answer. Is it still running?");

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} */
async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...key.header() } });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw unanswered();
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const said = problem.detail || problem.title || `The service answered ${response.status}.`;
  throw new Refusal(said, response.status, response.headers.get("Retry-After"));
}

/** @param {string} path @param {AbortSignal} [signal] */
async function get(path, signal) {
  return (await call(path, { signal, headers: { Accept: "application/json" } })).json();
}

/** @param {string} path @param {Blob} picture @param {AbortSignal} signal */
async function post(path, picture, signal) {
  const headers = { "Content-Type": picture.type || "application/octet-stream" };
  return (await call(path, { method: "POST", body: picture, headers, signal })).json();
}

/** @returns {Promise<Model>} */
export const model = () => get("/model");

/**
 * Take away the addresses of pictures that are not there, so that nobody asks for them.
 * @template {{ image: string | null }} T
 * @param {T[]} items @param {Model} model
 * @returns {T[]}
 */
export function pictured(items, { gallery }) {
  return gallery.pixels ? items : items.map((item) => ({ ...item, image: null }));
}

/**
 * @param {Blob} picture @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<Said & { similar: Record<string, Neighbour[]> }>}
 */
export function predict(picture, limit, signal) {
  const layers = LAYERS.join(",");
  return post(`/predict?limit=${limit}&layers=${layers}&explain=true`, picture, signal);
}

/**
 * @param {Blob} picture @param {number} top @param {AbortSignal} signal
 * @returns {Promise<Said>}
 */
export const classify = (picture, top, signal) => post(`/classify?top_k=${top}`, picture, signal);

/** @param {string} id @param {AbortSignal} signal @returns {Promise<Item>} */
export const item = (id, signal) => get(`/gallery/${encodeURIComponent(id)}`, signal);

/** @param {string} path @param {AbortSignal} signal @returns {Promise<Blob>} */
export const pixels = async (path, signal) => (await call(path, { signal })).blob();

/**
 * @param {string} id @param {string} layer @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<{ similar: Neighbour[] }>}
 */
export function similarTo(id, layer, limit, signal) {
  const asked = new URLSearchParams({ layer, limit: String(limit), explain: "true" });
  return get(`/gallery/${encodeURIComponent(id)}/similar?${asked}`, signal);
}

/**
 * @param {{ label?: string, predicted?: string, cursor?: string, limit: number }} asked @param {AbortSignal} signal
 * @returns {Promise<{ items: Item[], next: string | null }>}
 */
export function gallery({ label, predicted, cursor, limit }, signal) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (label) query.set("label", label);
  if (predicted) query.set("predicted", predicted);
  if (cursor) query.set("cursor", cursor);
  return get(`/gallery?${query}`, signal);
}

/** @param {AbortSignal} signal @returns {Promise<{ experiments: Experiment[] }>} */
export const experiments = (signal) => get("/experiments", signal);

/** @param {string} name @param {AbortSignal} signal @returns {Promise<{ records: Run[] }>} */
export const runs = (name, signal) => get(`/experiments/${encodeURIComponent(name)}`, signal);

/**
 * The learning curves of all experiments, as elements. The browser parses them, as the page's own
 * policy keeps it from making elements out of text.
 * @param {string} quantity @param {AbortSignal} signal
 * @returns {Promise<SVGSVGElement>}
 */
export function drawing(quantity, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", `/experiments/curves/${quantity}.svg`);
    request.responseType = "document";
    for (const [name, value] of Object.entries(key.header())) request.setRequestHeader(name, value);
    request.onload = () => {
      if (request.status === 200 && request.responseXML) resolve(document.importNode(request.responseXML.documentElement, true));
      else reject(new Refusal(`The service answered ${request.status}.`, request.status, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(unanswered());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send();
  });
}

/** @template T @param {Promise<T>} asked @returns {Promise<T | null>} null where there is no such thing */
export const orNull = (asked) =>
  asked.catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });

/** The service's calls, as the page needs them. */

/**
 * @typedef {{ label: string, index: number, probability: number }} Prediction
 * @typedef {object} Neighbour
 * @property {string} id
 * @property {string} label
 * @property {number} score cosine
 * @property {string | null} image
 * @property {number[][]} [heat] conv2: 8 rows of 8 terms that add up to the score
 * @property {number[]} [terms] logits: one term a class, adding up to the score
 * @typedef {{ id: string, label: string, image: string | null }} Item
 * @typedef {object} Model
 * @property {string} name
 * @property {string} version
 * @property {string[]} classes
 * @property {{ test_accuracy: number | null, test_count: number }} metrics
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
 */

/** The two layers that the page shows, in the order of the network. */
export const LAYERS = ["conv2", "logits"];

/** A refusal of the service, in its own words. */
export class Refusal extends Error {}

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} */
async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal("The service does not answer. Is it still running? Then try again.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const said = problem.detail || problem.title || `The service answered ${response.status}.`;
  const wait = response.headers.get("Retry-After");
  throw new Refusal(wait ? `${said} Try again in ${wait} s.` : said);
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
 * @returns {Promise<{ predictions: Prediction[], similar: Record<string, Neighbour[]> }>}
 */
export function predict(picture, limit, signal) {
  const layers = LAYERS.join(",");
  return post(`/predict?limit=${limit}&layers=${layers}&explain=true`, picture, signal);
}

/**
 * @param {Blob} picture @param {number} top @param {AbortSignal} signal
 * @returns {Promise<{ predictions: Prediction[] }>}
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
 * @param {{ label?: string, cursor?: string, limit: number }} asked @param {AbortSignal} signal
 * @returns {Promise<{ items: Item[], next: string | null }>}
 */
export function gallery({ label, cursor, limit }, signal) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (label) query.set("label", label);
  if (cursor) query.set("cursor", cursor);
  return get(`/gallery?${query}`, signal);
}

/** @param {AbortSignal} signal @returns {Promise<{ experiments: Experiment[] }>} */
export const experiments = (signal) => get("/experiments", signal);

/** The places of all gallery images at each layer. */

import * as api from "../lib/api.js";

/** @typedef {import("./painter.js").Layout} Layout */

const NO_LABEL = "no label";

export class Layouts {
  /** @type {Map<string, Layout>} */
  #byLayer = new Map();
  #revision = "";
  /** Number of labels that are one. */
  #named = 0;
  /** @type {string[]} */
  ids = [];
  /** @type {string[]} */
  labels = [];
  /** @type {number[]} index of the label of each point */
  label = [];
  /** @type {(number | null)[]} */
  predicted = [];
  /** @type {Set<number>} points that were added to the gallery */
  added = new Set();

  /** Fetch a layer, unless it is there. @param {string} layer @param {AbortSignal} signal @returns {Promise<Layout>} */
  async load(layer, signal) {
    const known = this.#byLayer.get(layer);
    if (known) return known;
    let answer = await api.map(layer, this.#revision === "", signal);
    if (answer.revision !== this.#revision) {
      if (!answer.ids) answer = await api.map(layer, true, signal);
      this.#byLayer.clear(); // the gallery has changed
      this.#revision = answer.revision;
      const { ids, labels, label, predicted, added } = answer;
      this.#named = labels.length;
      if (label.includes(null)) labels.push(NO_LABEL);
      Object.assign(this, { ids, labels, label: label.map((one) => one ?? this.#named), predicted, added: new Set(added) });
    }
    const layout = { x: toFloats(answer.x), y: toFloats(answer.y) };
    this.#byLayer.set(layer, layout);
    return layout;
  }

  /** @param {string} layer @returns {Layout | undefined} */
  get(layer) {
    return this.#byLayer.get(layer);
  }

  /** @param {number} index @param {api.Model} model @returns {import("../widgets/tile.js").Item & { predicted: string | null }} */
  item(index, model) {
    const id = this.ids[index];
    const stored = model.gallery.pixels || this.added.has(index);
    const predicted = this.predicted[index];
    return {
      id,
      label: this.label[index] < this.#named ? this.labels[this.label[index]] : null,
      predicted: predicted === null ? null : this.labels[predicted],
      image: stored ? `/gallery/${encodeURIComponent(id)}/image` : null,
      reconstruction: !stored && model.reconstruction ? api.reconstructionPath(id, api.searchable(model)[0]) : null,
    };
  }
}

/** @param {(number | null)[]} values @returns {Float32Array} NaN in place of null */
const toFloats = (values) => Float32Array.from(values, (value) => value ?? NaN);

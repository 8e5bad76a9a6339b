/** Loads the thumbnails that are near, a few hundred at most. */

import * as api from "../lib/api.js";
import * as apiKey from "../lib/api_key.js";

const KEPT = 600;

export class Thumbnails {
  /** @type {Map<string, HTMLImageElement>} */
  #images = new Map();
  #onLoad;

  /** @param {() => void} onLoad */
  constructor(onLoad) {
    this.#onLoad = onLoad;
  }

  /** @param {string} path @returns {HTMLImageElement | null} null until it has loaded */
  get(path) {
    let image = this.#images.get(path);
    if (!image) {
      image = new Image();
      image.onload = this.#onLoad;
      this.#load(image, path);
    }
    this.#images.delete(path); // the latest used come last
    this.#images.set(path, image);
    if (this.#images.size > KEPT) this.#images.delete(this.#images.keys().next().value);
    return image.complete && image.naturalWidth > 0 ? image : null;
  }

  /** @param {HTMLImageElement} image @param {string} path */
  async #load(image, path) {
    if (!apiKey.isSet()) {
      image.src = api.imageAddress(path);
      return;
    }
    const blob = await api.imageBytes(path).catch(() => null);
    if (blob) image.src = URL.createObjectURL(blob);
  }
}

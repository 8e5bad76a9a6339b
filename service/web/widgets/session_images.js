/** Keeps the images uploaded in this tab, so that none is lost and going back needs no second upload. */

import { prepare } from "../lib/prepare.js";

const CAPACITY = 30;

/**
 * @typedef {object} SessionImage
 * @property {string} name
 * @property {Blob} file as it was uploaded
 * @property {string} url of the file, and of the copy once there is one
 * @property {Promise<import("../lib/prepare.js").Prepared>} [prepared]
 */

export class SessionImages {
  /** @type {Map<string, SessionImage>} */
  #images = new Map();
  #count = 0;

  /**
   * Add images. Drop the oldest ones if the capacity is exceeded.
   * @param {Blob[]} files @returns {SessionImage[]}
   */
  add(files) {
    const added = files.slice(0, CAPACITY).map((file) => {
      this.#count += 1;
      return { name: String(this.#count), file, url: URL.createObjectURL(file) };
    });
    for (const image of added) this.#images.set(image.name, image);
    for (const oldest of [...this.#images.values()].slice(0, -CAPACITY)) {
      URL.revokeObjectURL(oldest.url);
      this.#images.delete(oldest.name);
    }
    return added;
  }

  /** @param {string} name @returns {SessionImage | undefined} */
  get(name) {
    return this.#images.get(name);
  }

  /**
   * Prepare an image for the service, once. A large one is shown by its copy afterwards.
   * @param {SessionImage} image @param {import("../lib/api.js").Model} model
   */
  prepare(image, { input }) {
    image.prepared ??= prepare(image.file, input).then((prepared) => {
      if (prepared.modelInput && prepared.blob !== image.file) {
        URL.revokeObjectURL(image.url);
        image.url = URL.createObjectURL(prepared.blob);
      }
      return prepared;
    });
    return image.prepared;
  }

  /** @returns {SessionImage[]} the oldest first */
  all() {
    return [...this.#images.values()];
  }
}

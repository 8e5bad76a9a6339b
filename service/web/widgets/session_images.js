/** Keeps the images uploaded in this tab, so that going back needs no second upload. */

const CAPACITY = 30;

/** @typedef {{ name: string, blob: Blob, url: string }} SessionImage */

export class SessionImages {
  /** @type {Map<string, SessionImage>} */
  #images = new Map();
  #count = 0;

  /**
   * Add an image. Drop the oldest one if the capacity is exceeded.
   * @param {Blob} blob @returns {SessionImage}
   */
  add(blob) {
    this.#count += 1;
    const image = { name: String(this.#count), blob, url: URL.createObjectURL(blob) };
    this.#images.set(image.name, image);
    const [oldest] = this.#images.values();
    if (this.#images.size > CAPACITY) {
      URL.revokeObjectURL(oldest.url);
      this.#images.delete(oldest.name);
    }
    return image;
  }

  /** @param {string} name @returns {SessionImage | undefined} */
  get(name) {
    return this.#images.get(name);
  }
}

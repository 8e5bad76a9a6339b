/** The visitor's own pictures. They stay in this tab and are gone with it. */

const KEPT = 30;

/** @typedef {{ name: string, blob: Blob, url: string }} Own */

export class Album {
  /** @type {Map<string, Own>} */
  #pictures = new Map();
  #count = 0;

  /** @param {Blob} blob @returns {Own} */
  add(blob) {
    this.#count += 1;
    const own = { name: String(this.#count), blob, url: URL.createObjectURL(blob) };
    this.#pictures.set(own.name, own);
    const [oldest] = this.#pictures.values();
    if (this.#pictures.size > KEPT) {
      URL.revokeObjectURL(oldest.url);
      this.#pictures.delete(oldest.name);
    }
    return own;
  }

  /** @param {string} name @returns {Own | undefined} */
  get(name) {
    return this.#pictures.get(name);
  }
}

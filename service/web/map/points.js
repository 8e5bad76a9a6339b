/** Where the points of the map are now: between two layers, in pixels, and which are meant. */

/** Pixels within which a point is meant. */
const REACH = 16;

/** @typedef {{ index: number, left: number, top: number }} Point in pixels */

export class Points {
  /** The layers between which the points are, and how far they have come. */
  /** @type {{ from: string, to: string, share: number }} */
  between;
  /** Points that are not meant, as their labels are not. */
  /** @type {Uint8Array | undefined} */
  isDim;
  #layouts;
  #viewport;

  /** @param {import("./layouts.js").Layouts} layouts @param {import("./viewport.js").Viewport} viewport @param {string} layer */
  constructor(layouts, viewport, layer) {
    this.#layouts = layouts;
    this.#viewport = viewport;
    this.between = { from: layer, to: layer, share: 1 };
  }

  /** @param {number} index @returns {[number, number]} its place in pixels */
  place(index) {
    const { from, to, share } = this.between;
    const [a, b] = [this.#layouts.get(from), this.#layouts.get(to)];
    return this.#viewport.toPixels(a.x[index] + (b.x[index] - a.x[index]) * share, a.y[index] + (b.y[index] - a.y[index]) * share);
  }

  /** @param {Record<string, { x: number | null, y: number | null }>} places of an image by layer @returns {[number, number] | null} */
  placeOf(places) {
    const { from, to, share } = this.between;
    const b = places[to];
    if (!b || b.x === null) return null;
    const a = (places[from]?.x ?? null) === null ? b : places[from];
    return this.#viewport.toPixels(a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share);
  }

  /** @param {number} [limit] @returns {Point[]} points in view */
  visible(limit = Infinity) {
    const { width, height } = this.#viewport;
    const found = [];
    for (let index = 0; index < this.#layouts.ids.length && found.length < limit; index += 1) {
      const [left, top] = this.place(index);
      if (left >= 0 && top >= 0 && left <= width && top <= height) found.push({ index, left, top });
    }
    return found;
  }

  /** @param {number} count @returns {number[]} the points nearest to the centre */
  aroundCentre(count) {
    const { width, height } = this.#viewport;
    const distance = (/** @type {Point} */ { left, top }) => Math.hypot(left - width / 2, top - height / 2);
    return this.visible().sort((a, b) => distance(a) - distance(b)).slice(0, count).map(({ index }) => index);
  }

  /** @param {[number, number][]} corners of a polygon, in pixels @returns {number[]} the points inside */
  inside(corners) {
    const path = new Path2D();
    corners.forEach((corner) => path.lineTo(...corner));
    const context = document.createElement("canvas").getContext("2d");
    return this.visible().filter(({ index, left, top }) => !this.isDim?.[index] && context.isPointInPath(path, left, top)).map(({ index }) => index);
  }

  /** @param {number} left @param {number} top @returns {number} the point that is meant, or -1 */
  at(left, top) {
    let [best, least] = [-1, REACH ** 2];
    for (let index = 0; index < this.#layouts.ids.length; index += 1) {
      const [x, y] = this.place(index);
      const distance = (x - left) ** 2 + (y - top) ** 2;
      if (distance < least && !this.isDim?.[index]) [best, least] = [index, distance];
    }
    return best;
  }
}

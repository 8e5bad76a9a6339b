/** The part of the map that is shown: its centre and scale, and the way from places to pixels. */

const NEAREST = 400;
const FARTHEST = 0.5;
/** Share of the shorter side that the whole map takes. */
const FILL = 0.94;

export class Viewport {
  x = 0.5;
  y = 0.5;
  scale = 1;
  width = 1;
  height = 1;

  /** Pixels of the whole map at this scale. */
  get size() {
    return Math.min(this.width, this.height) * FILL * this.scale;
  }

  /** @param {number} x @param {number} y a place @returns {[number, number]} in pixels */
  toPixels(x, y) {
    return [this.width / 2 + (x - this.x) * this.size, this.height / 2 + (y - this.y) * this.size];
  }

  /** @param {number} left @param {number} top in pixels @returns {[number, number]} a place */
  toPlace(left, top) {
    return [this.x + (left - this.width / 2) / this.size, this.y + (top - this.height / 2) / this.size];
  }

  /** @param {number} right @param {number} down pixels by which the map follows the pointer */
  pan(right, down) {
    this.moveTo(this.x - right / this.size, this.y - down / this.size);
  }

  /** @param {number} x @param {number} y the new centre */
  moveTo(x, y) {
    this.x = Math.min(Math.max(x, -0.2), 1.2);
    this.y = Math.min(Math.max(y, -0.2), 1.2);
  }

  /** Zoom about a point, which stays where it is. @param {number} factor @param {number} [left] @param {number} [top] */
  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toPlace(left, top);
    this.scale = Math.min(Math.max(this.scale * factor, FARTHEST), NEAREST);
    const [nowX, nowY] = this.toPlace(left, top);
    this.moveTo(this.x + x - nowX, this.y + y - nowY);
  }

  /** Show the whole map. */
  reset() {
    Object.assign(this, { x: 0.5, y: 0.5, scale: 1 });
  }

  /** @returns {string} as in the address */
  toString() {
    return [this.x.toFixed(5), this.y.toFixed(5), this.scale.toFixed(3)].join(",");
  }

  /** @param {string | undefined} text from the address */
  parse(text) {
    const [x, y, scale] = (text ?? "").split(",").map(Number);
    if (!(scale > 0) || !Number.isFinite(x + y)) return;
    this.moveTo(x, y);
    this.scale = Math.min(Math.max(scale, FARTHEST), NEAREST);
  }
}

/**
 * Paints points into the pixels of a canvas. It needs no graphics card: 60,000 points are a few
 * milliseconds of plain arithmetic.
 */

/** @typedef {{ x: Float32Array, y: Float32Array }} Layout places, NaN where there is none */

/** Leaves a bit free in each byte, so that two colours can be averaged at once. */
const HALVES = 0xfefefefe;

export class Painter {
  #context;
  /** @type {ImageData} */
  #image;
  /** @type {Uint32Array} */
  #pixels;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#context = canvas.getContext("2d", { alpha: false });
    this.resize(canvas.width, canvas.height);
  }

  /** @param {number} width @param {number} height in device pixels */
  resize(width, height) {
    const { canvas } = this.#context;
    canvas.width = Math.max(1, width);
    canvas.height = Math.max(1, height);
    this.#image = this.#context.createImageData(canvas.width, canvas.height);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
  }

  /**
   * Paint a frame.
   * @param {Layout} from @param {Layout} to @param {number} share of the way between them, 0 to 1
   * @param {import("./viewport.js").Viewport} viewport @param {number} ratio device pixels of a pixel
   * @param {{ colours: Uint32Array, background: number, radius: number, isDim?: Uint8Array, dim: number }} style
   *   `colours` has one a point; dim points lie below all others
   */
  paint(from, to, share, viewport, ratio, { colours, background, radius, isDim, dim }) {
    const pixels = this.#pixels;
    const { width, height } = this.#image;
    pixels.fill(background);
    const size = viewport.size * ratio;
    const left = (viewport.width / 2) * ratio - viewport.x * size;
    const top = (viewport.height / 2) * ratio - viewport.y * size;
    const { whole, soft, reach } = disc(radius * ratio, width);
    const [x0, y0, x1, y1] = [from.x, from.y, to.x, to.y];
    for (let pass = isDim ? 0 : 1; pass < 2; pass += 1) {
      for (let index = 0; index < x0.length; index += 1) {
        if (isDim && isDim[index] === pass) continue;
        const x = (left + (x0[index] + (x1[index] - x0[index]) * share) * size) | 0;
        const y = (top + (y0[index] + (y1[index] - y0[index]) * share) * size) | 0;
        if (!(x >= reach && y >= reach && x < width - reach && y < height - reach)) continue;
        if (Number.isNaN(x0[index] + x1[index])) continue;
        const colour = pass === 0 ? dim : colours[index];
        const half = (colour & HALVES) >>> 1;
        const middle = y * width + x;
        for (let part = 0; part < whole.length; part += 1) pixels[middle + whole[part]] = colour;
        for (let part = 0; part < soft.length; part += 1) {
          const at = middle + soft[part];
          pixels[at] = half + ((pixels[at] & HALVES) >>> 1);
        }
      }
    }
    this.#context.putImageData(this.#image, 0, 0);
  }
}

/**
 * Return the pixels of a disc around its middle: those inside, and those that its edge crosses.
 * @param {number} radius @param {number} width of the image
 */
function disc(radius, width) {
  const reach = Math.ceil(radius + 0.5);
  const [whole, soft] = [[], []];
  for (let y = -reach; y <= reach; y += 1) {
    for (let x = -reach; x <= reach; x += 1) {
      const distance = Math.hypot(x, y);
      if (distance <= radius - 0.5) whole.push(y * width + x);
      else if (distance <= radius + 0.5) soft.push(y * width + x);
    }
  }
  return { whole: Int32Array.from(whole), soft: Int32Array.from(soft), reach };
}

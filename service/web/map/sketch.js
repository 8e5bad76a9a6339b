/** Draws single things over the points: pictures, rings, lines, a lasso, the crosshair. */

/** @typedef {[number, number]} Place in pixels */

export class Sketch {
  #context;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#context = canvas.getContext("2d");
  }

  /** Begin a frame. @param {number} width @param {number} height in CSS pixels */
  clear(width, height) {
    this.#context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    this.#context.clearRect(0, 0, width, height);
    this.#context.lineWidth = 2;
  }

  /** @param {Place} place @param {number} radius @param {string} colour */
  ring([left, top], radius, colour) {
    this.#stroke(colour, () => this.#context.arc(left, top, radius, 0, 2 * Math.PI));
  }

  /** @param {Place} from @param {Place} to @param {string} colour */
  line(from, to, colour) {
    this.#stroke(colour, () => {
      this.#context.moveTo(...from);
      this.#context.lineTo(...to);
    });
  }

  /** @param {Place} place @param {number} radius @param {string} colour */
  dot([left, top], radius, colour) {
    this.#context.fillStyle = colour;
    this.#context.beginPath();
    this.#context.arc(left, top, radius, 0, 2 * Math.PI);
    this.#context.fill();
  }

  /** @param {Place[]} corners @param {string} colour */
  polygon(corners, colour) {
    this.#stroke(colour, () => {
      corners.forEach((corner) => this.#context.lineTo(...corner));
      this.#context.closePath();
    });
    this.#context.globalAlpha = 0.15;
    this.#context.fillStyle = colour;
    this.#context.fill();
    this.#context.globalAlpha = 1;
  }

  /** @param {Place} centre @param {string} colour */
  crosshair([left, top], colour) {
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) this.line([left + 4 * dx, top + 4 * dy], [left + 12 * dx, top + 12 * dy], colour);
  }

  /**
   * Draw a picture in a frame; only the frame until it has loaded.
   * @param {CanvasImageSource | null} picture @param {Place} place of its centre @param {number} side
   * @param {string} colour of the frame @param {string} behind colour behind the picture
   */
  picture(picture, [left, top], side, colour, behind) {
    const context = this.#context;
    const [x, y] = [left - side / 2, top - side / 2];
    context.fillStyle = colour;
    context.fillRect(x - 3, y - 3, side + 6, side + 6);
    context.fillStyle = behind;
    context.fillRect(x, y, side, side);
    context.imageSmoothingEnabled = false;
    const ready = picture instanceof HTMLCanvasElement || (picture instanceof HTMLImageElement && picture.complete && picture.naturalWidth > 0);
    if (ready) context.drawImage(picture, x, y, side, side);
  }

  /** @param {string} colour @param {() => void} trace */
  #stroke(colour, trace) {
    this.#context.strokeStyle = colour;
    this.#context.beginPath();
    trace();
    this.#context.stroke();
  }
}

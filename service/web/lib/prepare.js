/** Prepares an image for the service: a copy small enough to send, and what the network will see. */

/** Longest side of the copy that is sent. */
const LONGEST = 512;
const QUALITY = 0.92;

/**
 * @typedef {object} Prepared
 * @property {Blob} blob what is sent: the file itself, or a smaller copy
 * @property {HTMLCanvasElement | null} modelInput null if this browser cannot draw the file; the
 *   service may still be able to read it
 */

/**
 * Decode an image once, if this browser can draw it, and copy it.
 * @param {Blob} blob
 * @param {{ side: number, formats: string[] }} input of the network
 * @returns {Promise<Prepared>}
 */
export async function prepare(blob, { side, formats }) {
  const drawable = await decode(blob);
  if (!drawable) return { blob, modelInput: null };
  const { source, width, height, close } = drawable;
  const square = Math.min(width, height);
  const modelInput = draw(createCanvas(side, side), source, [(width - square) / 2, (height - square) / 2, square, square]);
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const small = scale === 1 && formats.includes(blob.type);
  const sides = [width, height].map((one) => Math.max(1, Math.round(one * scale)));
  const copy = !small && draw(createHidden(...sides), source, [0, 0, width, height]);
  close();
  return { blob: copy ? await encode(copy) : blob, modelInput };
}

/** @param {number} width @param {number} height @returns {HTMLCanvasElement} */
const createCanvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

/** Create a canvas that is never shown. Browsers encode an offscreen one at once, and others when they are idle. */
const createHidden = (width, height) => ("OffscreenCanvas" in window ? new OffscreenCanvas(width, height) : createCanvas(width, height));

/** @param {HTMLCanvasElement | OffscreenCanvas} canvas @returns {Promise<Blob>} */
function encode(canvas) {
  const type = "image/jpeg";
  if ("convertToBlob" in canvas) return canvas.convertToBlob({ type, quality: QUALITY });
  return new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));
}

/** @param {T} canvas @param {CanvasImageSource} source @param {number[]} from left, top, width, height @returns {T} @template {HTMLCanvasElement | OffscreenCanvas} T */
function draw(canvas, source, from) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = from[2] !== width || from[3] !== height;
  context.drawImage(source, .../** @type {[number, number, number, number]} */ (from), 0, 0, width, height);
  return canvas;
}

/** @param {Blob} blob @returns {Promise<{ source: CanvasImageSource, width: number, height: number, close: () => void } | null>} */
async function decode(blob) {
  try {
    const source = await createImageBitmap(blob, { imageOrientation: "from-image" });
    return { source, width: source.width, height: source.height, close: () => source.close() };
  } catch {
    return decodeElement(blob);
  }
}

/** Decode what only an `img` element can, such as SVG. @param {Blob} blob */
async function decodeElement(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  const close = () => URL.revokeObjectURL(image.src);
  try {
    await image.decode();
    const [width, height] = [image.naturalWidth || LONGEST, image.naturalHeight || LONGEST];
    return { source: image, width, height, close };
  } catch {
    close();
    return null;
  }
}

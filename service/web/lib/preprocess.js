/** Shows an image as the model receives it: upright, on white, centre-cropped, 32 x 32. */

const SIDE = 32;

/**
 * Decode and preprocess an image in the browser.
 * @param {Blob} blob
 * @returns {Promise<HTMLCanvasElement | null>} null if this browser cannot decode the format;
 *   the service may still be able to
 */
export async function preprocess(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = document.createElement("canvas");
  canvas.width = SIDE;
  canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = side !== SIDE;
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  context.drawImage(bitmap, left, top, side, side, 0, 0, SIDE, SIDE);
  bitmap.close();
  return canvas;
}

/** A picture as the network sees it: upright, over white, its centre square, 32 x 32. */

const SIDE = 32;

/**
 * @param {Blob} blob
 * @returns {Promise<HTMLCanvasElement | null>} null where this browser cannot read the format,
 *   which does not mean that the service cannot
 */
export async function asNetworkSees(blob) {
  let whole;
  try {
    whole = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const side = Math.min(whole.width, whole.height);
  const canvas = document.createElement("canvas");
  canvas.width = SIDE;
  canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = side !== SIDE;
  const [left, top] = [(whole.width - side) / 2, (whole.height - side) / 2];
  context.drawImage(whole, left, top, side, side, 0, 0, SIDE, SIDE);
  whole.close();
  return canvas;
}

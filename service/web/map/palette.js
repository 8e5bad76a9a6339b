/** Colours of labels: as far apart as they can be, in hue and in turn in lightness. */

/**
 * Return a colour for each label.
 * @param {number} count @returns {string[]} CSS colours
 */
export function palette(count) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const lightness = dark ? [0.8, 0.66] : [0.58, 0.72];
  return Array.from({ length: count }, (_, index) => {
    // Turns of the golden angle keep any number of hues apart; few labels are spread evenly.
    const hue = count <= 12 ? 25 + (360 * index) / count : (137.508 * index) % 360;
    return `oklch(${lightness[index % 2]} ${dark ? 0.15 : 0.17} ${hue.toFixed(1)})`;
  });
}

/**
 * Convert CSS colours to pixels of an image, as a browser on a little-endian machine stores them.
 * @param {string[]} colours @returns {Uint32Array}
 */
export function toPixels(colours) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(colours.length, 1);
  canvas.height = 1;
  const context = canvas.getContext("2d");
  colours.forEach((colour, index) => {
    context.fillStyle = colour;
    context.fillRect(index, 0, 1, 1);
  });
  return new Uint32Array(context.getImageData(0, 0, canvas.width, 1).data.buffer);
}

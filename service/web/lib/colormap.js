/** The cividis colormap: even in lightness, and safe for colour-blind eyes (Nuñez et al., 2018). */

// Eleven even steps, printed by matplotlib.colormaps["cividis"].
const STOPS = [
  [0, 34, 78], [8, 51, 112], [53, 69, 108], [79, 87, 108], [102, 105, 112], [125, 124, 120],
  [148, 142, 119], [174, 163, 113], [200, 184, 102], [229, 207, 82], [254, 232, 56],
];

/**
 * Interpolate linearly between the stops.
 * @param {number} value from 0 to 1 @returns {string} a CSS colour
 */
export function cividis(value) {
  const position = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const lower = Math.min(Math.floor(position), STOPS.length - 2);
  const channels = STOPS[lower].map((from, channel) =>
    Math.round(from + (STOPS[lower + 1][channel] - from) * (position - lower)),
  );
  return `rgb(${channels.join(" ")})`;
}

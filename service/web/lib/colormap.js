/** Cividis: even in lightness, and the same to eyes that see fewer colours (Nuñez et al., 2018). */

// Eleven even steps, printed by matplotlib.colormaps["cividis"].
const STOPS = [
  [0, 34, 78], [8, 51, 112], [53, 69, 108], [79, 87, 108], [102, 105, 112], [125, 124, 120],
  [148, 142, 119], [174, 163, 113], [200, 184, 102], [229, 207, 82], [254, 232, 56],
];

/** @param {number} share from 0 to 1 @returns {string} a CSS colour */
export function colour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  const mixed = STOPS[below].map((from, channel) =>
    Math.round(from + (STOPS[below + 1][channel] - from) * (place - below)),
  );
  return `rgb(${mixed.join(" ")})`;
}

/** Formats numbers for reading. */

/** @param {number} fraction @returns {string} "62 %" */
export function percent(fraction) {
  const value = fraction * 100;
  if (value < 1) return "< 1 %";
  if (value < 100 && value > 99) return "> 99 %";
  return `${Math.round(value)} %`;
}

/** @param {number} fraction @returns {string} "5.3 %" */
export function precisePercent(fraction) {
  return `${decimal(fraction * 100, 1)} %`;
}

/** @param {number} value @param {number} [digits] @returns {string} with a true minus sign */
export function decimal(value, digits = 3) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** @param {number} count @param {string} one @param {string} [many] @returns {string} "7,500 images" */
export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** @param {{ id: string, label: string | null }} image @returns {string} its label, or its id if it has none */
export const nameOf = ({ id, label }) => label ?? id;

/** @param {{ id: string, label: string | null }} image @returns {string} its label, if it has one, and its id */
export const fullNameOf = ({ id, label }) => (label === null ? id : `${label}, ${id}`);

/** Keeps the visitor's API key in this tab and adds it to requests. */

const STORAGE_KEY = "kindred-key";

/** @returns {boolean} whether requests carry a key */
export const isSet = () => sessionStorage.getItem(STORAGE_KEY) !== null;

/** @param {string} key */
export const store = (key) => sessionStorage.setItem(STORAGE_KEY, key);

/** Forget the key. */
export const clear = () => sessionStorage.removeItem(STORAGE_KEY);

/** @returns {Record<string, string>} headers for every request */
export function header() {
  return isSet() ? { Authorization: `Bearer ${sessionStorage.getItem(STORAGE_KEY)}` } : {};
}

/** Creates DOM elements. Text is only ever inserted as text, so no response can become markup. */

/**
 * Create an element.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] attributes; `on…` functions become listeners and
 *   `style` sets custom properties; false, null and undefined are skipped
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) {
        node.style.setProperty(property, String(setting));
      }
    } else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/**
 * Create an alert.
 * @param {string} message what went wrong and what to do about it
 * @returns {HTMLElement}
 */
export function errorMessage(message) {
  return element("p", { class: "error-message", role: "alert" }, message);
}

/**
 * Create a list item that defines a term.
 * @param {string} term @param {string} meaning one sentence @returns {HTMLElement}
 */
export function definition(term, meaning) {
  return element("li", {}, element("strong", {}, term), `: ${meaning}`);
}

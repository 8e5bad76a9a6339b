/** Making elements. Text only ever goes in as text, so no answer can become markup. */

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `class`, attributes, `on…` listeners, `style` as
 *   custom properties by name; false, null and undefined leave an attribute out
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) {
        made.style.setProperty(property, String(setting));
      }
    } else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/**
 * @param {string} message what went wrong and what to do about it
 * @returns {HTMLElement}
 */
export function complaint(message) {
  return element("p", { class: "complaint", role: "alert" }, message);
}

/** @param {string} term @param {string} said what it means, in one sentence @returns {HTMLElement} */
export function meaning(term, said) {
  return element("li", {}, element("strong", {}, term), `: ${said}`);
}

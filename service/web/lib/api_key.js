/** The visitor's key, where the service asks for one. It stays in this tab and is gone with it. */

import { complaint, element } from "./dom.js";

const NAME = "kindred-key";

/** @returns {boolean} whether a key is sent with every call */
export const held = () => sessionStorage.getItem(NAME) !== null;

/** @returns {Record<string, string>} what every call carries */
export function header() {
  const key = sessionStorage.getItem(NAME);
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/**
 * Ask for a key. One that was sent has just been refused.
 * @param {HTMLElement} place next to what needs it
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} as soon as one is given, right or wrong
 */
export function asked(place, signal) {
  const refused = held() ? complaint("This key is not known here. Try another.") : null;
  sessionStorage.removeItem(NAME);
  if (refused) refused.id = "key-refused";
  const field = element("input", {
    type: "password",
    required: true,
    pattern: "[!-~]+",
    title: "Letters, digits and signs, without spaces",
    autocomplete: "off",
    "aria-invalid": refused && "true",
    "aria-describedby": refused?.id,
  });
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    const form = element(
      "form",
      {
        class: "key",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          sessionStorage.setItem(NAME, field.value);
          resolve();
        },
      },
      element("p", {}, "This service answers those who have a key. Yours stays in this tab and is gone with it."),
      element("label", {}, "Key", field),
      element("button", { class: "button primary" }, "Use this key"),
      refused,
    );
    place.replaceChildren(form);
    field.focus();
  });
}

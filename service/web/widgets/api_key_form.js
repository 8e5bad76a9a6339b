/** A form that asks for an API key. */

import * as apiKey from "../lib/api_key.js";
import { element, errorMessage } from "../lib/dom.js";

/**
 * Ask for a key and store it. A key that is already stored has just been rejected.
 * @param {HTMLElement} container
 * @param {AbortSignal} [signal]
 * @param {boolean} [toChange] whether the key is for a change of the gallery
 * @returns {Promise<void>} resolves once a key is submitted, valid or not
 */
export function askForKey(container, signal, toChange = false) {
  const rejected = apiKey.isSet() ? errorMessage(toChange ? "This key may not change the gallery. Try another." : "Unknown API key. Try another.") : null;
  apiKey.clear();
  if (rejected) rejected.id = "api-key-error";
  const input = element("input", {
    type: "password",
    required: true,
    pattern: "[!-~]+",
    title: "Letters, digits and signs, without spaces",
    autocomplete: "off",
    "aria-invalid": rejected && "true",
    "aria-describedby": rejected?.id,
  });
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    const form = element(
      "form",
      {
        class: "api-key-form",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          apiKey.store(input.value);
          resolve();
        },
      },
      element("p", {}, `${toChange ? "Changing the gallery needs an admin key." : "This service requires an API key."} Yours stays in this tab and is gone with it.`),
      element("label", {}, "Key", input),
      element("button", { class: "button primary" }, "Use this key"),
      rejected,
    );
    container.replaceChildren(form);
    input.focus();
  });
}

/** Retries a request with exponential backoff, and asks for an API key if one is required. */

import { element } from "../lib/dom.js";
import { askForKey } from "./api_key_form.js";
import { whileBusy } from "./busy_indicator.js";

const INITIAL_DELAY_S = 1;
const MAX_DELAY_S = 32;

/**
 * Send a request until it succeeds. While it fails, `container` shows the error and a countdown, or
 * a form for the API key. It is empty afterwards.
 * @template T
 * @param {HTMLElement} container next to the content that is missing
 * @param {() => Promise<T>} request throws an `ApiError`
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>} rejects with an error that is not worth a retry
 */
export async function retry(container, request, signal) {
  const notice = retryNotice();
  for (let delay = INITIAL_DELAY_S; ; delay = Math.min(2 * delay, MAX_DELAY_S)) {
    try {
      const response = await whileBusy(request());
      clear(container);
      return response;
    } catch (error) {
      if (signal?.aborted) throw error;
      if (error.status === 401 || error.status === 403) await askForKey(container, signal, error.status === 403);
      else if (error.retryable) await notice.wait(container, error.message, Math.max(delay, error.retryAfter), signal);
      else throw error;
    }
  }
}

/** Create a notice with the error, a countdown and a button that retries at once. */
function retryNotice() {
  const message = element("p", { role: "alert" });
  // Keep the countdown outside the alert, or screen readers announce it every second.
  const countdown = element("span");
  const button = element("button", { class: "link-button", type: "button" }, "Try again now");
  const notice = element("div", { class: "error-message" }, message, element("p", {}, countdown, " ", button));

  /** @param {HTMLElement} container @param {string} text @param {number} seconds @param {AbortSignal} [signal] */
  const wait = async (container, text, seconds, signal) => {
    if (message.textContent !== text) message.textContent = text;
    if (!container.contains(notice)) container.replaceChildren(notice);
    const clicked = new Promise((resolve) => button.addEventListener("click", () => resolve(true), { once: true }));
    for (let left = seconds; left > 0; left -= 1) {
      countdown.textContent = `Trying again in ${left} s.`;
      const second = new Promise((resolve) => setTimeout(resolve, 1000));
      if (await Promise.race([clicked, second])) break;
      signal?.throwIfAborted();
    }
    countdown.textContent = "Trying again…";
  };
  return { wait };
}

/**
 * Empty the container. Move the focus to the main element if it would be lost.
 * @param {HTMLElement} container
 */
function clear(container) {
  if (container.contains(document.activeElement)) document.getElementById("main").focus({ preventScroll: true });
  container.replaceChildren();
}

/** Not giving up: what fails in passing is asked again, by itself or by a button. */

import { whileBusy } from "./busy_indicator.js";
import { element } from "../lib/dom.js";
import * as key from "../lib/api_key.js";

const FIRST_S = 1;
const LONGEST_S = 32;

/**
 * Work until it is done. What keeps it from that is said in `place`, with when it is tried again,
 * or with a question for a key; `place` is empty when the work is done.
 * @template T
 * @param {HTMLElement} place next to where it matters
 * @param {() => Promise<T>} work fails with a `Refusal`
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>} fails with what does not pass
 */
export async function persevere(place, work, signal) {
  const said = notice();
  for (let pause = FIRST_S; ; pause = Math.min(2 * pause, LONGEST_S)) {
    try {
      const done = await whileBusy(work());
      clear(place);
      return done;
    } catch (error) {
      if (signal?.aborted) throw error;
      if (error.status === 401) await key.asked(place, signal);
      else if (error.passes) await said.wait(place, error.message, Math.max(pause, error.wait), signal);
      else throw error;
    }
  }
}

/** What is wrong, and how long until it is tried again. */
function notice() {
  const message = element("p", { role: "alert" });
  // Outside of the alert, or it would be read out every second.
  const countdown = element("span");
  const again = element("button", { class: "quiet", type: "button" }, "Try again now");
  const whole = element("div", { class: "complaint" }, message, element("p", {}, countdown, " ", again));

  /** @param {HTMLElement} place @param {string} text @param {number} seconds @param {AbortSignal} [signal] */
  const wait = async (place, text, seconds, signal) => {
    if (message.textContent !== text) message.textContent = text;
    if (!place.contains(whole)) place.replaceChildren(whole);
    const clicked = new Promise((resolve) => again.addEventListener("click", () => resolve(true), { once: true }));
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

/** @param {HTMLElement} place where the focus must not get lost in */
function clear(place) {
  if (place.contains(document.activeElement)) document.getElementById("main").focus({ preventScroll: true });
  place.replaceChildren();
}

/** A short message with a button that undoes what it tells, for as long as it is shown. */

import { element } from "../lib/dom.js";

const SHOWN_MS = 8000;

/** Ends the message that is shown. */
let settle = () => {};

/**
 * Tell what was done. The next message, or leaving the page, takes it as meant.
 * @param {string} text @param {string} [action] of the button
 * @returns {Promise<boolean>} whether it is to be undone
 */
export function toast(text, action = "Undo") {
  settle();
  return new Promise((resolve) => {
    let timer = 0;
    const finish = (/** @type {boolean} */ undone) => {
      clearTimeout(timer);
      removeEventListener("pagehide", keep);
      settle = () => {};
      box.remove();
      resolve(undone);
    };
    const keep = () => finish(false);
    const wait = () => (timer = setTimeout(keep, SHOWN_MS));
    const hold = () => clearTimeout(timer);
    const box = element(
      "div",
      { class: "toast", role: "status", onpointerenter: hold, onpointerleave: wait, onfocusin: hold, onfocusout: wait },
      element("span", {}, text),
      element("button", { class: "link-button", type: "button", onclick: () => finish(true) }, action),
    );
    settle = keep;
    addEventListener("pagehide", keep);
    document.body.append(box);
    wait();
  });
}

/** The picture that is asked about: as it was given, as the network sees it, or from the gallery. */

import { element } from "../lib/dom.js";
import { tile } from "./tile.js";

/**
 * A picture of the visitor's own, with what is cut off of it under a veil.
 * @param {string} url
 * @param {HTMLCanvasElement | null} seen what is left of it, or null where this browser cannot tell
 * @returns {HTMLElement[]}
 */
export function given(url, seen) {
  const whole = captioned("given", original(url), "Your picture");
  if (!seen) return [whole];
  seen.className = "pixels";
  seen.setAttribute("role", "img");
  seen.setAttribute("aria-label", "Your picture, its centre square at 32 by 32 pixels");
  return [captioned("seen", seen, "As the network sees it"), whole];
}

/** @param {import("../lib/api.js").Item} item @returns {HTMLElement} */
export function kept(item) {
  const picture = element("div", { role: "img", "aria-label": `Gallery picture ${item.id}` }, tile(item));
  return captioned("kept", picture, "From the gallery: ", element("span", { class: "id" }, item.id));
}

/** @param {HTMLCanvasElement} canvas @returns {HTMLCanvasElement} */
export function copy(canvas) {
  const made = document.createElement("canvas");
  made.width = canvas.width;
  made.height = canvas.height;
  made.className = "pixels";
  made.getContext("2d").drawImage(canvas, 0, 0);
  return made;
}

/** @param {string} kind @param {HTMLElement} picture @param {...(Node | string)} name */
function captioned(kind, picture, ...name) {
  return element("figure", { class: kind }, picture, element("figcaption", {}, ...name));
}

/** @param {string} url @returns {HTMLElement} */
function original(url) {
  const image = /** @type {HTMLImageElement} */ (element("img", { src: url, alt: "Your picture" }));
  const frame = element("div", { class: "crop" }, image, element("span", { class: "crop-mark" }));
  image.onload = () => frame.classList.add(image.naturalWidth > image.naturalHeight ? "wide" : "tall");
  image.onerror = () => frame.replaceChildren(element("p", { class: "no-preview" }, "This browser cannot show it."));
  return frame;
}

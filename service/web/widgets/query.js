/** Shows the query image: as uploaded, as the model sees it, or from the gallery. */

import { element } from "../lib/dom.js";
import { tile, withDrawnNote } from "./tile.js";

/**
 * Show an uploaded image, with the part outside its centre crop dimmed.
 * @param {string} url
 * @param {HTMLCanvasElement | null} modelInput what the network sees, or null if this browser
 *   cannot decode the upload
 * @returns {HTMLElement[]}
 */
export function uploadedQuery(url, modelInput) {
  const original = figure("original", croppedImage(url), "Your image");
  if (!modelInput) return [original];
  modelInput.className = "pixels";
  modelInput.setAttribute("role", "img");
  modelInput.setAttribute("aria-label", `Your image, its centre square at ${modelInput.width} by ${modelInput.height} pixels`);
  return [figure("model-input", modelInput, "As the network sees it"), original];
}

/** @param {import("../lib/api.js").Item} item @returns {HTMLElement} */
export function galleryQuery(item) {
  const image = element("div", { role: "img", "aria-label": `Gallery image ${item.id}` }, tile(item));
  return figure("gallery-image", image, withDrawnNote("From the gallery", item), ": ", element("span", { class: "id" }, item.id));
}

/** @param {HTMLCanvasElement} canvas @returns {HTMLCanvasElement} */
export function copyCanvas(canvas) {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  copy.className = "pixels";
  copy.getContext("2d").drawImage(canvas, 0, 0);
  return copy;
}

/** @param {string} className @param {HTMLElement} image @param {...(Node | string)} caption */
function figure(className, image, ...caption) {
  return element("figure", { class: className }, image, element("figcaption", {}, ...caption));
}

/** @param {string} url @returns {HTMLElement} */
function croppedImage(url) {
  const image = /** @type {HTMLImageElement} */ (element("img", { src: url, alt: "Your image" }));
  const frame = element("div", { class: "crop" }, image, element("span", { class: "crop-mark" }));
  image.onload = () => frame.classList.add(image.naturalWidth > image.naturalHeight ? "wide" : "tall");
  image.onerror = () => frame.replaceChildren(element("p", { class: "no-preview" }, "This browser cannot show it."));
  return frame;
}

/** A gallery image: its pixels, or a picture drawn from its vector, or a labelled placeholder. */

import * as api from "../lib/api.js";
import * as apiKey from "../lib/api_key.js";
import { element } from "../lib/dom.js";
import { fullNameOf, nameOf } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";

/** Images up to this width are shown with sharp pixels. */
const MAX_PIXELATED = 64;
const DRAWN = "drawn from its vector";

/** @typedef {{ id: string, label: string | null, image?: string | null, reconstruction?: string | null }} Item */

/** @param {Item} item @returns {boolean} */
const isDrawn = (item) => !item.image && Boolean(item.reconstruction);

/** @param {Item} item @returns {HTMLElement | null} says that the picture is drawn from the vector */
export const drawnNote = (item) => (isDrawn(item) ? element("p", { class: "drawn-note" }, DRAWN) : null);

/** @param {string} text @param {Item} item @returns {string} */
export const withDrawnNote = (text, item) => (isDrawn(item) ? `${text}, ${DRAWN}` : text);

/**
 * Create a tile. It is decorative: the element around it needs an accessible name.
 * @param {Item} item
 * @returns {HTMLElement}
 */
export function tile(item) {
  const path = item.image ?? item.reconstruction;
  return path ? picture(path, isDrawn(item), () => placeholder(item)) : placeholder(item);
}

/**
 * Create an image of a path of the service.
 * @param {string} path @param {boolean} drawn whether it is drawn from a vector @param {() => HTMLElement} fallback
 */
export function picture(path, drawn, fallback) {
  const image = element("img", {
    class: drawn ? "pixels photo" : "pixels",
    width: 1, // browsers give an image without an address no room, unless it has both sides
    height: 1,
    alt: "",
    loading: "lazy",
    decoding: "async",
    src: !apiKey.isSet() && api.imageAddress(path),
    onload: () => image.classList.toggle("photo", drawn || image.naturalWidth > MAX_PIXELATED),
    onerror: () => image.replaceWith(fallback()),
  });
  if (apiKey.isSet()) fetchWhenVisible(image, path);
  return image;
}

/**
 * Fetch an image once it is visible. An `img` element cannot send the API key itself.
 * @param {HTMLElement} image @param {string} path
 */
function fetchWhenVisible(image, path) {
  const observer = new IntersectionObserver(async ([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    observer.disconnect();
    try {
      const url = URL.createObjectURL(await api.imageBytes(path));
      image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      image.setAttribute("src", url);
    } catch {
      image.dispatchEvent(new Event("error"));
    }
  });
  observer.observe(image);
}

/** @param {Item} item @returns {HTMLElement} */
function placeholder({ id, label }) {
  return element(
    "span",
    { class: "placeholder", "aria-hidden": "true", title: "This bundle carries no images" },
    element("span", { class: "placeholder-label" }, label ?? ""),
    element("span", { class: "placeholder-id" }, id.replace(/^.*-(?=\d+$)/, "№ ")),
  );
}

/**
 * Create a card that searches from a gallery image.
 * @param {Item} item @param {boolean} [captioned] @returns {HTMLElement}
 */
export function galleryCard(item, captioned = true) {
  return element(
    "li",
    { class: "card", "data-id": item.id },
    element(
      "a",
      { class: "card-action", href: formatRoute({ view: "predict", image: item.id }), "aria-label": `Find similar to ${fullNameOf(item)}` },
      tile(item),
    ),
    captioned && (item.image || item.reconstruction) && element("p", { class: "card-line" }, element("span", { class: "card-label" }, nameOf(item))),
    drawnNote(item),
  );
}

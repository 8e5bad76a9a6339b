/** A gallery image, or a labelled placeholder if the bundle has no pixels. */

import * as api from "../lib/api.js";
import * as apiKey from "../lib/api_key.js";
import { element } from "../lib/dom.js";
import { formatRoute } from "../lib/router.js";

/** Images up to this width are shown with sharp pixels. */
const MAX_PIXELATED = 64;

/** @typedef {{ id: string, label: string, image?: string | null }} Item */

/**
 * Create a tile. It is decorative: the element around it needs an accessible name.
 * @param {Item} item
 * @returns {HTMLElement}
 */
export function tile(item) {
  if (!item.image) return placeholder(item);
  const image = element("img", {
    class: "pixels",
    width: 32,
    height: 32,
    alt: "",
    loading: "lazy",
    decoding: "async",
    src: !apiKey.isSet() && api.imageAddress(item.image),
    onload: () => image.classList.toggle("photo", image.naturalWidth > MAX_PIXELATED),
    onerror: () => image.replaceWith(placeholder(item)),
  });
  if (apiKey.isSet()) fetchWhenVisible(image, item.image);
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
    element("span", { class: "placeholder-label" }, label),
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
    { class: "card" },
    element(
      "a",
      { class: "card-action", href: formatRoute({ view: "predict", image: item.id }), "aria-label": `Find similar to ${item.label}, ${item.id}` },
      tile(item),
    ),
    captioned && item.image && element("p", { class: "card-line" }, element("span", { class: "card-label" }, item.label)),
  );
}

/** A gallery picture, or a labelled tile where the bundle ships no pixels. */

import { write } from "../lib/router.js";
import * as api from "../lib/api.js";
import { element } from "../lib/dom.js";
import * as key from "../lib/api_key.js";

/** @typedef {{ id: string, label: string, image?: string | null }} Item */

/**
 * @param {Item} item
 * @returns {HTMLElement} decorative: whoever shows it names it
 */
export function tile(item) {
  if (!item.image) return lettered(item);
  const image = element("img", {
    class: "pixels",
    width: 32,
    height: 32,
    alt: "",
    loading: "lazy",
    decoding: "async",
    src: !key.held() && item.image,
    onerror: () => image.replaceWith(lettered(item)),
  });
  if (key.held()) fetchWhenSeen(image, item.image);
  return image;
}

/**
 * A picture's address cannot carry a key, so its bytes are fetched with it.
 * @param {HTMLElement} image @param {string} path
 */
function fetchWhenSeen(image, path) {
  const sight = new IntersectionObserver(async ([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    sight.disconnect();
    try {
      const url = URL.createObjectURL(await api.pixels(path));
      image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      image.setAttribute("src", url);
    } catch {
      image.dispatchEvent(new Event("error"));
    }
  });
  sight.observe(image);
}

/** @param {Item} item @returns {HTMLElement} */
function lettered({ id, label }) {
  return element(
    "span",
    { class: "lettered", "aria-hidden": "true", title: "This bundle carries no pictures" },
    element("span", { class: "lettered-label" }, label),
    element("span", { class: "lettered-id" }, id.replace(/^.*-(?=\d+$)/, "№ ")),
  );
}

/** @param {Item} item @param {boolean} [captioned] @returns {HTMLElement} */
export function galleryLink(item, captioned = true) {
  return element(
    "li",
    { class: "card" },
    element(
      "a",
      { class: "look", href: write({ view: "look", image: item.id }), "aria-label": `Look from ${item.label}, ${item.id}` },
      tile(item),
    ),
    captioned && item.image && element("p", { class: "card-line" }, element("span", { class: "card-label" }, item.label)),
  );
}

/** The images that were dropped in this tab, each a link to its search. */

import { element } from "../lib/dom.js";
import { formatRoute } from "../lib/router.js";

/**
 * Create the tray, or nothing if there is one image only.
 * @param {import("./session_images.js").SessionImage[]} images @param {string} current name of the image shown
 * @returns {HTMLElement | null}
 */
export function tray(images, current) {
  if (images.length < 2) return null;
  const link = (/** @type {import("./session_images.js").SessionImage} */ { name, url }) => {
    const image = element("img", { src: url, alt: "", onerror: () => image.replaceWith(element("span", {}, name)) });
    return element(
      "li",
      {},
      element("a", { href: formatRoute({ view: "predict", upload: name }), "aria-label": `Your image ${name}`, "aria-current": name === current ? "true" : null }, image),
    );
  };
  return element("nav", { class: "tray", "aria-label": "Your images" }, element("p", {}, "Your images in this tab"), element("ul", {}, ...images.map(link)));
}

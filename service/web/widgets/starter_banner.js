/** Says how to get a gallery with pictures, where the bundle has none. */

import { element } from "../lib/dom.js";

/** @param {import("../lib/api.js").Model} model @returns {HTMLElement | null} null if the bundle has pictures */
export function starterBanner({ gallery, reconstruction }) {
  if (gallery.pixels) return null;
  const drawn = reconstruction ? "pictures are drawn from vectors" : "images have no pictures";
  return element(
    "p",
    { class: "banner" },
    `This is the starter gallery, whose ${drawn}: start the service with `,
    element("code", {}, "make serve DATA=photos/"),
    " for your own images, or while online for those of CIFAR-10.",
  );
}

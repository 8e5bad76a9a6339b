/** The first view: what this is, the ways in, and some gallery pictures to start from. */

import * as api from "../lib/api.js";
import { complaint, element } from "../lib/dom.js";
import { buttons, fingers } from "../widgets/upload.js";
import { persevere } from "../widgets/retry.js";
import { galleryLink } from "../widgets/tile.js";

const CLASSES = 10;
const OF_EACH = 2;

/**
 * @param {HTMLElement} main
 * @param {Promise<api.Model>} known
 * @param {(picture: Blob) => void} take
 * @param {AbortSignal} signal
 * @param {string} [regret] why the visitor is here and not where the address led
 */
export async function welcome(main, known, take, signal, regret) {
  document.title = "kindred";
  const offered = element("div", { class: "offered" });
  main.replaceChildren(element("div", { class: "welcome" }, hero(take, regret), offered));
  try {
    const model = await known;
    const ask = () =>
      Promise.all(model.classes.slice(0, CLASSES).map((label) => api.gallery({ label, limit: OF_EACH }, signal)));
    const piles = (await persevere(offered, ask, signal)).map(({ items }) => items);
    const mixed = Array.from({ length: OF_EACH }, (_, round) => piles.map((pile) => pile[round])).flat();
    const offers = api.pictured(mixed.filter(Boolean), model);
    if (offers.length === 0 || signal.aborted) return;
    offered.append(
      element("h2", {}, "Or start from one of these"),
      element("ul", { class: "kin small" }, ...offers.map((item) => galleryLink(item))),
    );
  } catch (error) {
    if (signal.aborted) return;
    offered.append(complaint(`The gallery could not be shown. ${error.message}`));
  }
}

/** @param {(picture: Blob) => void} take @param {string} [regret] */
function hero(take, regret) {
  return element(
    "div",
    { class: "hero" },
    element(
      "div",
      {},
      element("h1", {}, "Give it an image; get its class, and its kin."),
      element(
        "p",
        { class: "lead" },
        "A small neural network says what your picture shows, finds the pictures that are most like it to its eyes, and lets you see which parts made it think so.",
      ),
    ),
    element(
      "div",
      { class: "drop" },
      element(
        "div",
        {},
        element("p", { class: "drop-lead" }, fingers() ? "Any picture will do" : "Drop a picture anywhere, or paste one"),
        element("p", { class: "drop-note" }, "Whatever its size, the network sees its centre square, at 32 × 32."),
      ),
      buttons(take),
      regret ? complaint(regret) : null,
    ),
  );
}

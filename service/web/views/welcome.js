/** The start page: an introduction, the upload area and example images from the gallery. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { retry } from "../widgets/retry.js";
import { starterBanner } from "../widgets/starter_banner.js";
import { galleryCard } from "../widgets/tile.js";
import { isTouchDevice, uploadButtons } from "../widgets/upload.js";

const CLASSES = 10;
const EXAMPLES_PER_CLASS = 2;
const WITHOUT_CLASSES = ["Give it an image; find its like.", "A neural network compares your image with all of the gallery, and shows which parts made them match."];

/**
 * Render the start page.
 * @param {HTMLElement} main
 * @param {Promise<api.Model>} modelPromise
 * @param {(images: Blob[]) => void} onUpload
 * @param {AbortSignal} signal
 * @param {string} [notice] why the address led here
 */
export async function welcome(main, modelPromise, onUpload, signal, notice) {
  document.title = "kindred";
  const examples = element("div", { class: "examples" });
  main.replaceChildren(element("div", { class: "welcome" }, hero(onUpload, notice), examples));
  try {
    const model = await modelPromise;
    if (signal.aborted) return;
    const seen = main.querySelector(".drop-zone-note");
    if (seen) seen.textContent = `The network sees the centre square of any image, at ${model.input.side} × ${model.input.side}.`;
    main.querySelector(".welcome")?.prepend(starterBanner(model) ?? "");
    if (model.classes.length === 0) {
      const [title, lead] = main.querySelectorAll(".hero h1, .hero .lead");
      [title.textContent, lead.textContent] = WITHOUT_CLASSES;
    }
    const request = () =>
      model.classes.length === 0
        ? api.gallery({ limit: CLASSES * EXAMPLES_PER_CLASS }, signal).then(({ items }) => items.map((item) => ({ items: [item] })))
        : Promise.all(model.classes.slice(0, CLASSES).map((label) => api.gallery({ label, limit: EXAMPLES_PER_CLASS }, signal)));
    const byClass = (await retry(examples, request, signal)).map(({ items }) => items);
    const interleaved = Array.from({ length: EXAMPLES_PER_CLASS }, (_, index) => byClass.map((items) => items[index])).flat();
    const items = interleaved.filter(Boolean);
    if (items.length === 0 || signal.aborted) return;
    examples.append(
      element("h2", {}, "Or start from one of these"),
      element("ul", { class: "card-grid small" }, ...items.map((item) => galleryCard(item))),
    );
  } catch (error) {
    if (signal.aborted) return;
    examples.append(errorMessage(`The gallery could not be shown. ${error.message}`));
  }
}

/** @param {(images: Blob[]) => void} onUpload @param {string} [notice] */
function hero(onUpload, notice) {
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
        "A small neural network classifies your image, finds the images most similar to it, and shows which parts made them match.",
      ),
    ),
    element(
      "div",
      { class: "drop-zone" },
      element(
        "div",
        {},
        element("p", { class: "drop-zone-lead" }, isTouchDevice() ? "Any image will do" : "Drop an image anywhere, or paste one"),
        element("p", { class: "drop-zone-note" }, "The network sees the centre square of any image."),
      ),
      uploadButtons(onUpload),
      notice ? errorMessage(notice) : null,
    ),
  );
}

/** Class probabilities as bars, and how sure the network is in plain words. */

import { element } from "../lib/dom.js";
import { percent } from "../lib/format.js";

const SHOWN = 10;
const CONFIDENT = 0.8;
const DOUBTFUL = 0.5;

/** @typedef {import("../lib/api.js").Prediction} Prediction */

/** @param {Prediction[]} predictions best first @returns {HTMLElement} */
export function bars(predictions) {
  const rows = predictions.slice(0, SHOWN).map(({ label, probability }) =>
    element(
      "li",
      { class: probability < 0.01 ? "slight" : null },
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": probability } }),
      element("span", { class: "bar-figure" }, percent(probability)),
    ),
  );
  return element("ol", { class: "bars", "aria-label": "Probability of each class" }, ...rows);
}

/**
 * @param {Prediction[]} predictions best first
 * @param {boolean | null} [familiar] whether the picture is like those that the network does well on
 * @param {number | null} [novelty] the share of held-out pictures that are more like those
 * @returns {string}
 */
export function certainty([best, second], familiar, novelty) {
  const sure = percent(best.probability);
  if (familiar === false) {
    return (
      `Unfamiliar: ${novelty === 1 ? "all" : percent(novelty).replace(">", "more than")} of the held-out pictures are more like what ` +
      `the network knows than this one, so ${best.label} (${sure}) may be no more than the nearest of its classes.`
    );
  }
  if (best.probability >= CONFIDENT) return `Confident: ${sure}.`;
  const rival = second ? `, then ${second.label} with ${percent(second.probability)}` : "";
  if (best.probability >= DOUBTFUL) return `Leaning: ${sure}${rival}.`;
  const unlike = familiar ? "" : " It has to name one of the classes it knows, even for a picture unlike any it has learned.";
  return `Doubtful: ${sure}${rival}.${unlike}`;
}

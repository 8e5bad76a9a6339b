/** Class probabilities as bars, and how sure the network is in plain words. */

import { element } from "./dom.js";
import { percent } from "./words.js";

const SHOWN = 10;
const CONFIDENT = 0.8;
const DOUBTFUL = 0.5;

/** @typedef {import("./api.js").Prediction} Prediction */

/** @param {Prediction[]} predictions best first @returns {HTMLElement} */
export function bars(predictions) {
  const rows = predictions.slice(0, SHOWN).map(({ label, probability }) =>
    element(
      "li",
      {},
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": probability } }),
      element("span", { class: "bar-figure" }, percent(probability)),
    ),
  );
  return element("ol", { class: "bars", "aria-label": "Probability of each class" }, ...rows);
}

/** @param {Prediction[]} predictions best first @returns {string} */
export function certainty([best, second]) {
  const sure = percent(best.probability);
  if (best.probability >= CONFIDENT) return `Confident: ${sure}.`;
  const rival = second ? `, then ${second.label} with ${percent(second.probability)}` : "";
  if (best.probability >= DOUBTFUL) return `Leaning: ${sure}${rival}.`;
  return (
    `Doubtful: ${sure}${rival}. It has to name one of the classes it knows, ` +
    "even for a picture unlike any it has learned."
  );
}

/** Shows class probabilities as bars and describes the model's confidence in words. */

import { element } from "../lib/dom.js";
import { percent } from "../lib/format.js";

const SHOWN = 10;
/** Classes shown on a phone at first. */
const FIRST = 3;
const CONFIDENT = 0.8;
const UNCERTAIN = 0.5;

/** @typedef {import("../lib/api.js").Prediction} Prediction */

/**
 * Show bars, best first. A phone has room for three, and a button that shows all.
 * @param {Prediction[]} predictions best first @returns {HTMLElement}
 */
export function probabilityBars(predictions) {
  const rows = predictions.slice(0, SHOWN).map(({ label, probability }, index) =>
    element(
      "li",
      { class: [probability < 0.01 && "minor", index >= FIRST && "rest"].filter(Boolean).join(" ") || null },
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": probability } }),
      element("span", { class: "bar-figure" }, percent(probability)),
    ),
  );
  const bars = element("ol", { class: "bars", "aria-label": "Probability of each class" }, ...rows);
  if (rows.length <= FIRST) return bars;
  const expand = () => {
    bars.classList.add("expanded");
    all.remove();
    bars.querySelector(".rest").tabIndex = -1;
    bars.querySelector(".rest").focus();
  };
  const all = element("button", { class: "link-button all-bars", type: "button", onclick: expand }, `All ${rows.length} classes`);
  return element("div", {}, bars, all);
}

/**
 * Describe how confident the model is.
 * @param {Prediction[]} predictions best first
 * @param {boolean | null} [familiar] whether the image resembles those that the model does well on
 * @param {number | null} [novelty] share of held-out images that are more familiar
 * @returns {string}
 */
export function confidence([best, second], familiar, novelty) {
  const probability = percent(best.probability);
  if (familiar === false) {
    return (
      `Unfamiliar: ${novelty === 1 ? "all" : percent(novelty).replace(">", "more than")} of the held-out images are more like what ` +
      `the network knows than this one, so ${best.label} (${probability}) may be no more than the nearest of its classes.`
    );
  }
  if (best.probability >= CONFIDENT) return `Confident: ${probability}.`;
  const runnerUp = second ? `, then ${second.label} with ${percent(second.probability)}` : "";
  if (best.probability >= UNCERTAIN) return `Leaning: ${probability}${runnerUp}.`;
  const caveat = familiar ? "" : " It has to name one of the classes it knows, even for an image unlike any it has learned.";
  return `Doubtful: ${probability}${runnerUp}.${caveat}`;
}

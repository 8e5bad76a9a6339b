/** What the network takes a picture for, said large, then in detail. */

import { element } from "../lib/dom.js";
import { bars, certainty } from "./probabilities.js";
import { percent } from "../lib/format.js";

/** @typedef {import("../views/predict.js").Answer} Answer */

/** @param {Answer} answer @returns {HTMLElement[]} */
export function verdict({ predictions, familiar, novelty, answer, item }) {
  if (predictions.length === 0) {
    return [
      element("p", { class: "says" }, "It is labelled"),
      element("h1", {}, answer),
      element("p", { class: "certainty" }, kept(item)),
    ];
  }
  const truth = item && `${item.label === answer ? "It is right" : "It is mistaken"}: the label is ${item.label}.`;
  return [
    element("p", { class: "says" }, familiar === false ? "The network can only guess" : "The network says"),
    element("h1", {}, familiar === false ? `${answer}?` : answer),
    element("p", { class: familiar === false ? "certainty unfamiliar" : "certainty" }, certainty(predictions, familiar, novelty)),
    truth && element("p", { class: "truth" }, truth),
    bars(predictions),
  ].filter(Boolean);
}

/** @param {import("../lib/api.js").Item} item @returns {string} what is known of a picture that is not there */
function kept({ label, predicted }) {
  const before =
    predicted === null ? "" : predicted === label ? "The network took it for the same. " : `The network took it for ${predicted}. `;
  return `${before}This bundle carries no pictures, so the network cannot look at it again; its neighbours are known all the same.`;
}

/** @param {Answer} answer @returns {string} */
export function spoken({ predictions, familiar, answer }) {
  if (predictions.length === 0) return `Labelled ${answer}.`;
  return `${answer}, ${familiar === false ? "a guess" : percent(predictions[0].probability)}.`;
}

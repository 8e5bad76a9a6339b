/** What the network takes a picture for, said large, then in detail. */

import { element } from "./dom.js";
import { bars, certainty } from "./probabilities.js";
import { percent } from "./words.js";

/** @typedef {import("./look.js").Answer} Answer */

/** @param {Answer} answer @returns {HTMLElement[]} */
export function verdict({ predictions, answer, item }) {
  if (predictions.length === 0) {
    return [
      element("p", { class: "says" }, "It is labelled"),
      element("h1", {}, answer),
      element("p", { class: "certainty" }, "This bundle carries no pictures, so the network cannot look at it again; its neighbours are known all the same."),
    ];
  }
  const truth = item && `${item.label === answer ? "It is right" : "It is mistaken"}: the label is ${item.label}.`;
  return [
    element("p", { class: "says" }, "The network says"),
    element("h1", {}, answer),
    element("p", { class: "certainty" }, certainty(predictions)),
    truth && element("p", { class: "truth" }, truth),
    bars(predictions),
  ].filter(Boolean);
}

/** @param {Answer} answer @returns {string} */
export function spoken({ predictions, answer }) {
  return predictions.length > 0 ? `${answer}, ${percent(predictions[0].probability)}.` : `Labelled ${answer}.`;
}

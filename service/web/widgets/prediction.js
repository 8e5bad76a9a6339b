/** Shows the predicted class, the model's confidence and the probabilities of all classes. */

import { element } from "../lib/dom.js";
import { percent } from "../lib/format.js";
import { confidence, probabilityBars } from "./probabilities.js";

/**
 * @typedef {import("../lib/api.js").Item} Item
 * @typedef {object} SearchResult
 * @property {Record<string, import("../lib/api.js").Neighbour[]>} similar by layer
 * @property {string | null} predicted class that neighbours are compared with, if there are any
 * @property {import("./reconstructions.js").Source} source the query
 * @property {Item} [item] the query, if it is a gallery image
 * @property {Record<string, Item>} [examples] by id
 * @typedef {import("../lib/api.js").Classification & SearchResult} Result `predictions` is empty if
 *   the image's pixels are missing, or if there are no classes
 */

const NO_CLASSES = "This gallery has no classes, so the network names nothing.";

/** @param {Result} result @returns {HTMLElement[]} */
export function prediction({ predictions, familiar, novelty, predicted, item }) {
  if (predictions.length === 0) {
    return [
      element("p", { class: "prediction-lead" }, item?.label ? "It is labelled" : "The nearest to"),
      element("h1", {}, item?.label ?? (item ? "this image" : "your image")),
      element("p", { class: "confidence" }, !item || item.image ? NO_CLASSES : missingPixels(item)),
    ];
  }
  const unfamiliar = familiar === false;
  const trueLabel = item && `${item.label === predicted ? "It is right" : "It is mistaken"}: the label is ${item.label}.`;
  return [
    element("p", { class: "prediction-lead" }, unfamiliar ? "The network can only guess" : "The network says"),
    element("h1", {}, unfamiliar ? `${predicted}?` : predicted),
    element("p", { class: unfamiliar ? "confidence unfamiliar" : "confidence" }, confidence(predictions, familiar, novelty)),
    trueLabel && element("p", { class: "true-label" }, trueLabel),
    probabilityBars(predictions),
  ].filter(Boolean);
}

/** @param {Item} item whose pixels are missing @returns {string} */
function missingPixels({ label, predicted }) {
  const earlier =
    predicted === null ? "" : predicted === label ? "The network took it for the same. " : `The network took it for ${predicted}. `;
  return `${earlier}Its pixels are not stored, so the network cannot classify it again. Its neighbours are still known.`;
}

/** @param {Result} result @returns {string} one sentence for screen readers */
export function predictionSummary({ predictions, familiar, predicted }) {
  if (predictions.length === 0) return predicted === null ? "" : `Labelled ${predicted}.`;
  return `${predicted}, ${familiar === false ? "a guess" : percent(predictions[0].probability)}.`;
}

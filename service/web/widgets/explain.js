/** Explains why a neighbour matches the query, by the terms that add up to its score. */

import { layerCard } from "../lib/api.js";
import { element } from "../lib/dom.js";
import { decimal, nameOf } from "../lib/format.js";
import { classAttribution, pair } from "./class_attribution.js";
import { heatmap } from "./heatmap.js";
import { reconstructions } from "./reconstructions.js";
import { tile, withDrawnNote } from "./tile.js";

/** @typedef {import("../lib/api.js").Neighbour} Neighbour */

const CLASSES_NOTE = "A class adds to the score where the network rates it above its average in both images, or below it in both.";
const FEATURES_NOTE = "The features of this layer have neither a place nor a name, so its score cannot be split any further.";

/**
 * Create the panel for one neighbour.
 * @param {object} options
 * @param {string} options.layer
 * @param {Neighbour} options.neighbour
 * @param {import("../lib/api.js").Model} options.model
 * @param {string | null} options.predicted class of the query; null if it has none
 * @param {import("./reconstructions.js").Source} options.source the query
 * @param {() => HTMLElement} options.drawQuery
 * @param {() => void} options.close
 * @returns {HTMLElement}
 */
export function explanation({ layer, neighbour, model, predicted, source, drawQuery, close }) {
  const heading = `explanation-${layer}`;
  const images = [
    { name: "The query", draw: drawQuery },
    { name: withDrawnNote(`Its neighbour: ${nameOf(neighbour)}`, neighbour), draw: () => tile(neighbour) },
  ];
  const { heat, terms, score } = neighbour;
  const kind = layerCard(model, layer).explanation;
  const byClass = terms && kind === "classes";
  const body = heat
    ? heatmap(heat, score, images, kind === "places" ? images.length : 1)
    : byClass
      ? classAttribution(terms, score, model.classes, predicted, images)
      : element("div", { class: "explanation-body by-class" }, pair(images));
  const note = heat ? heatmapNote(heat, model.input.side) : byClass ? CLASSES_NOTE : FEATURES_NOTE;
  return element(
    "section",
    {
      class: "explanation",
      "aria-labelledby": heading,
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && close(),
    },
    element(
      "div",
      { class: "explanation-head" },
      element("div", {}, element("h3", { id: heading, tabindex: -1 }, `Why ${nameOf(neighbour)} scores ${decimal(score)}`), element("p", {}, note)),
      element("button", { class: "link-button", type: "button", onclick: close }, "Close"),
    ),
    body,
    model.reconstruction && element("div", { class: "kept" }, reconstructions(model, source, "What each layer keeps of the query"), reconstructions(model, { item: neighbour }, "… and of its neighbour")),
  );
}

/** @param {number[][]} heat @param {number} side of the network's input @returns {string} */
function heatmapNote(heat, side) {
  const pixels = side / heat.length;
  const size = Number.isInteger(pixels) ? ` Each is ${pixels} × ${pixels} of the ${side} × ${side} pixels that the network sees.` : "";
  return `The closer a place is to yellow, the more its likeness adds to the score.${size}`;
}

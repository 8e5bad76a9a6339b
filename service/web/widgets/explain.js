/** Explains why a neighbour matches the query, by the terms that add up to its score. */

import { element } from "../lib/dom.js";
import { decimal } from "../lib/format.js";
import { classAttribution } from "./class_attribution.js";
import { heatmap } from "./heatmap.js";
import { tile } from "./tile.js";

/** @typedef {import("../lib/api.js").Neighbour} Neighbour */

const HEATMAP_NOTE =
  "The closer a place is to yellow, the more its likeness adds to the score. Each is 4 × 4 pixels, and the network takes in 16 × 16 around it.";
const CLASSES_NOTE = "A class adds to the score where the network rates it high in both images, or low in both.";

/**
 * Create the panel for one neighbour.
 * @param {object} options
 * @param {string} options.layer
 * @param {Neighbour} options.neighbour
 * @param {string[]} options.classes
 * @param {string} options.predicted class of the query
 * @param {() => HTMLElement} options.drawQuery
 * @param {() => void} options.close
 * @returns {HTMLElement}
 */
export function explanation({ layer, neighbour, classes, predicted, drawQuery, close }) {
  const heading = `explanation-${layer}`;
  const images = [
    { name: "The query", draw: drawQuery },
    { name: `Its neighbour: ${neighbour.label}`, draw: () => tile(neighbour) },
  ];
  const body = neighbour.heat
    ? heatmap(neighbour.heat, neighbour.score, images)
    : neighbour.terms
      ? classAttribution(neighbour.terms, neighbour.score, classes, predicted, images)
      : element("p", {}, "The service sent no explanation for this neighbour.");
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
      element(
        "div",
        {},
        element("h3", { id: heading, tabindex: -1 }, `Why ${neighbour.label} scores ${decimal(neighbour.score)}`),
        element("p", {}, neighbour.heat ? HEATMAP_NOTE : neighbour.terms ? CLASSES_NOTE : ""),
      ),
      element("button", { class: "link-button", type: "button", onclick: close }, "Close"),
    ),
    body,
  );
}

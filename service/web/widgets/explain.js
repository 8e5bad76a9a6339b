/** Why a picture and its neighbour match: the terms that their score is the sum of. */

import { element } from "../lib/dom.js";
import { heatmap } from "./heatmap.js";
import { terms } from "./class_attribution.js";
import { tile } from "./tile.js";
import { figure } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Neighbour} Neighbour */

const PLACES =
  "The closer a place is to yellow, the more its likeness adds to the score. Each is 4 × 4 pixels, and the network takes in 16 × 16 around it.";
const CLASSES = "A class adds to the score where the network rates it high in both pictures, or low in both.";

/**
 * @param {object} asked
 * @param {string} asked.layer
 * @param {Neighbour} asked.neighbour
 * @param {string[]} asked.classes
 * @param {string} asked.answer the class that the query was taken for
 * @param {() => HTMLElement} asked.query draws the query's picture
 * @param {() => void} asked.close
 * @returns {HTMLElement}
 */
export function explanation({ layer, neighbour, classes, answer, query, close }) {
  const heading = `why-${layer}`;
  const pictures = [
    { name: "The query", draw: query },
    { name: `Its neighbour: ${neighbour.label}`, draw: () => tile(neighbour) },
  ];
  const body = neighbour.heat
    ? heatmap(neighbour.heat, neighbour.score, pictures)
    : neighbour.terms
      ? terms(neighbour.terms, neighbour.score, classes, answer, pictures)
      : element("p", {}, "The service sent no explanation for this neighbour.");
  return element(
    "section",
    {
      class: "why",
      "aria-labelledby": heading,
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && close(),
    },
    element(
      "div",
      { class: "why-head" },
      element(
        "div",
        {},
        element("h3", { id: heading, tabindex: -1 }, `Why ${neighbour.label} scores ${figure(neighbour.score)}`),
        element("p", {}, neighbour.heat ? PLACES : neighbour.terms ? CLASSES : ""),
      ),
      element("button", { class: "quiet", type: "button", onclick: close }, "Close"),
    ),
    body,
  );
}

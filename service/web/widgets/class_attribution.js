/** Attributes an output-layer score to classes: one signed term for each, shown as a bar. */

import { element } from "../lib/dom.js";
import { decimal } from "../lib/format.js";

const SHOWN = 12;

/**
 * Show the terms of a score.
 * @param {number[]} terms one for each class
 * @param {number} score their sum
 * @param {string[]} classes
 * @param {string} predicted class of the query
 * @param {{ name: string, draw: () => HTMLElement }[]} images the query, then its neighbour
 * @returns {HTMLElement}
 */
export function classAttribution(terms, score, classes, predicted, images) {
  const sorted = terms
    .map((term, index) => ({ term, label: classes[index] ?? `class ${index}` }))
    .sort((a, b) => Math.abs(b.term) - Math.abs(a.term));
  const largest = Math.abs(sorted[0].term);
  const sum = terms.reduce((total, term) => total + term, 0);
  const rest = sorted.slice(SHOWN);
  const rows = sorted.slice(0, SHOWN).map(({ term, label }) =>
    element(
      "li",
      { class: [term < 0 && "negative", label === predicted && "predicted"].filter(Boolean).join(" ") || null },
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": Math.abs(term) / largest } }),
      element("span", { class: "bar-figure" }, decimal(term)),
    ),
  );
  return element(
    "div",
    { class: "explanation-body by-class" },
    element(
      "div",
      {},
      element(
        "div",
        { class: "pair" },
        ...images.map(({ name, draw }) =>
          element("figure", {}, element("div", { class: "overlay" }, draw()), element("figcaption", {}, name)),
        ),
      ),
      element("p", { class: "explanation-note" }, `The ${terms.length} classes add up to ${decimal(sum)}; the score is ${decimal(score)}.`),
      sorted[0].label !== predicted &&
        element(
          "p",
          { class: "explanation-note" },
          `To rule the same classes out is to agree as well, and there are more of those: so ${predicted} is not the longest bar.`,
        ),
    ),
    element(
      "div",
      { class: "explanation-details" },
      element("ol", { class: "bars", "aria-label": "Share of each class in the score" }, ...rows),
      rest.length > 0 &&
        element("p", {}, `The other ${rest.length} classes: ${decimal(rest.reduce((total, { term }) => total + term, 0))}.`),
    ),
  );
}

/** Attributes an output-layer score to classes: one signed term for each, shown as a bar. */

import { element } from "../lib/dom.js";
import { decimal, plural } from "../lib/format.js";

/** Terms shown at first: those that matter most. */
const SHOWN = 3;

/** @typedef {{ name: string, draw: () => HTMLElement }} NamedImage */

/**
 * Show both images side by side.
 * @param {NamedImage[]} images @returns {HTMLElement}
 */
export function pair(images) {
  const figures = images.map(({ name, draw }) => element("figure", {}, element("div", { class: "overlay" }, draw()), element("figcaption", {}, name)));
  return element("div", { class: "pair" }, ...figures);
}

/**
 * Show the terms of a score.
 * @param {number[]} terms one for each class
 * @param {number} score their sum
 * @param {string[]} classes
 * @param {string} predicted class of the query
 * @param {NamedImage[]} images the query, then its neighbour
 * @returns {HTMLElement}
 */
export function classAttribution(terms, score, classes, predicted, images) {
  const sorted = terms.map((term, index) => ({ term, label: classes[index] })).sort((a, b) => Math.abs(b.term) - Math.abs(a.term));
  const largest = Math.abs(sorted[0].term) || 1;
  const total = (/** @type {{ term: number }[]} */ some) => some.reduce((sum, { term }) => sum + term, 0);
  const row = (/** @type {{ term: number, label: string }} */ { term, label }) =>
    element(
      "li",
      { class: [term < 0 && "negative", label === predicted && "predicted"].filter(Boolean).join(" ") || null },
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": Math.abs(term) / largest } }),
      element("span", { class: "bar-figure" }, decimal(term)),
    );
  const rest = sorted.slice(SHOWN);
  const bars = element("ol", { class: "bars", "aria-label": "Share of each class in the score" }, ...sorted.slice(0, SHOWN).map(row));
  const showAll = () => {
    const added = rest.map(row);
    bars.append(...added);
    more.remove();
    added[0].tabIndex = -1;
    added[0].focus();
  };
  const more =
    rest.length > 0 &&
    element(
      "p",
      {},
      `The other ${plural(rest.length, "class", "classes")} together: ${decimal(total(rest))}. `,
      element("button", { class: "link-button", type: "button", onclick: showAll }, "Show all"),
    );
  return element(
    "div",
    { class: "explanation-body by-class" },
    element(
      "div",
      {},
      pair(images),
      element("p", { class: "explanation-note" }, `The ${plural(terms.length, "class adds", "classes add")} up to ${decimal(total(sorted))}; the score is ${decimal(score)}.`),
    ),
    element("div", { class: "explanation-details" }, bars, more),
  );
}

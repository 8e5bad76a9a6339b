/** The terms of a cosine at the output: one for each class, for or against the match. */

import { element } from "../lib/dom.js";
import { figure } from "../lib/format.js";

const SHOWN = 12;

/**
 * @param {number[]} shares one a class
 * @param {number} score what they add up to
 * @param {string[]} classes
 * @param {string} answer the class that the query was taken for
 * @param {{ name: string, draw: () => HTMLElement }[]} pictures the query, then its neighbour
 * @returns {HTMLElement}
 */
export function terms(shares, score, classes, answer, pictures) {
  const named = shares
    .map((term, index) => ({ term, label: classes[index] ?? `class ${index}` }))
    .sort((a, b) => Math.abs(b.term) - Math.abs(a.term));
  const most = Math.abs(named[0].term);
  const sum = shares.reduce((total, term) => total + term, 0);
  const rest = named.slice(SHOWN);
  const rows = named.slice(0, SHOWN).map(({ term, label }) =>
    element(
      "li",
      { class: [term < 0 && "against", label === answer && "answer"].filter(Boolean).join(" ") || null },
      element("span", { class: "bar-name" }, label),
      element("span", { class: "bar", "aria-hidden": "true", style: { "--share": Math.abs(term) / most } }),
      element("span", { class: "bar-figure" }, figure(term)),
    ),
  );
  return element(
    "div",
    { class: "why-body by-class" },
    element(
      "div",
      {},
      element(
        "div",
        { class: "pair" },
        ...pictures.map(({ name, draw }) =>
          element("figure", {}, element("div", { class: "mapped" }, draw()), element("figcaption", {}, name)),
        ),
      ),
      element("p", { class: "why-sum" }, `The ${shares.length} classes add up to ${figure(sum)}; the score is ${figure(score)}.`),
      named[0].label !== answer &&
        element(
          "p",
          { class: "why-sum" },
          `To rule the same classes out is to agree as well, and there are more of those: so ${answer} is not the longest bar.`,
        ),
    ),
    element(
      "div",
      { class: "why-words" },
      element("ol", { class: "bars", "aria-label": "Share of each class in the score" }, ...rows),
      rest.length > 0 &&
        element("p", {}, `The other ${rest.length} classes: ${figure(rest.reduce((total, { term }) => total + term, 0))}.`),
    ),
  );
}

/** What is known of the network that is served: where it errs, and how good its neighbours are. */

import { confusion } from "./confusion.js";
import { element, meaning } from "../lib/dom.js";
import { MANY, mistakes } from "./top_confusions.js";
import { table } from "./table.js";
import { counted, figure, percent } from "../lib/format.js";

/**
 * @typedef {import("../lib/api.js").Model} Model
 * @typedef {import("../lib/api.js").Run} Run
 * @typedef {import("../lib/api.js").Layer & { name: string }} Layer
 */

/** @param {Run} run the one that made the network @param {Model} model @returns {(Node | null)[]} */
export function served({ test, retrieval, dataset }, model) {
  return [...(test ? errors(test, dataset.name, model) : []), ...(retrieval ? neighbours(retrieval) : [])];
}

/** @param {import("../lib/api.js").Evaluation} test @param {string} counted_on @param {Model} model */
function errors(test, counted_on, { name, classes, gallery, dataset }) {
  const pictures = counted(test.count, "test picture");
  const differs =
    gallery.size !== test.count
      ? ` The gallery has ${gallery.size.toLocaleString("en")} of them, so there may be fewer behind a number.`
      : dataset.gallery_from !== counted_on
        ? ` They were counted on ${counted_on} and the gallery is from ${dataset.gallery_from}, so a few may differ.`
        : "";
  return [
    element("h2", {}, `Where ${name} errs`),
    element(
      "p",
      { class: "lead" },
      `The network that is served names ${percent(test.accuracy)} of ${pictures} correctly. Each row tells what the pictures of a class were taken for; a number leads to such pictures.${differs}`,
    ),
    test.confusion_matrix && classes.length <= MANY ? confusion(test.confusion_matrix, classes) : mistakes(test, classes),
  ];
}

/** @param {Record<string, import("../lib/api.js").Layer>} retrieval from the first layer to the last */
function neighbours(retrieval) {
  const rows = Object.entries(retrieval).map(([name, layer], index) => ({ name, index, ...layer }));
  return [
    element("h2", {}, "How good its neighbours are, by layer"),
    element(
      "p",
      { class: "lead" },
      `Each of ${counted(rows[0].queries, "test picture")} asks among the others. Early layers find what looks alike, late layers what is alike: the class comes out on the way through the network.`,
    ),
    table(
      "Quality of the neighbours by layer",
      [
        { title: "Layer", value: ({ index }) => index, show: ({ name }) => name },
        { title: "Dimensions", value: ({ dimension }) => dimension, show: ({ dimension }) => dimension.toLocaleString("en"), number: true },
        ranked("Precision at 10", "precision_at_10"),
        ranked("Mean average precision", "mean_average_precision"),
      ],
      rows,
    ),
    element(
      "ul",
      { class: "meanings" },
      meaning("Precision at 10", "the share of the ten nearest that have the picture’s own label."),
      meaning("Mean average precision", "the same over the whole ranking, where the first places count most; 1 if all of the own class come before all others."),
    ),
  ];
}

/** @param {string} title @param {"precision_at_10" | "mean_average_precision"} key @returns {import("./table.js").Column<Layer>} */
function ranked(title, key) {
  return { title, value: ({ overall }) => overall[key], show: ({ overall }) => measured(overall[key]), number: true };
}

/** @param {number} share from 0 to 1 @returns {HTMLElement} with a bar of its length */
function measured(share) {
  const bar = element("span", { class: "bar", "aria-hidden": "true", style: { "--share": share } });
  return element("span", { class: "measured" }, bar, figure(share));
}

/** Evaluation of the served model: its confusions, and its retrieval quality by layer. */

import { definition, element } from "../lib/dom.js";
import { decimal, percent, plural } from "../lib/format.js";
import { confusionMatrix } from "./confusion.js";
import { table } from "./table.js";
import { topConfusions } from "./top_confusions.js";

/** Largest number of classes whose matrix fits the page. */
const MATRIX_CLASSES = 40;

/**
 * @typedef {import("../lib/api.js").Model} Model
 * @typedef {import("../lib/api.js").LayerRetrieval & { name: string }} LayerRow
 */

/**
 * Show what the run's record contains.
 * @param {import("../lib/api.js").Run} run that trained the served model
 * @param {Model} model
 * @returns {HTMLElement[]}
 */
export function evaluation({ test, retrieval, dataset }, model) {
  return [...(test ? errors(test, dataset.name, model) : []), ...(retrieval ? retrievalQuality(retrieval) : [])];
}

/** @param {import("../lib/api.js").Evaluation} test @param {string} testedOn name of the dataset @param {Model} model */
function errors(test, testedOn, { name, classes, gallery, dataset }) {
  const images = plural(test.count, "test image");
  const difference =
    gallery.size !== test.count
      ? ` The gallery has ${gallery.size.toLocaleString("en")} of them, so a number may lead to fewer.`
      : dataset.gallery_from !== testedOn
        ? ` They were counted on ${testedOn} and the gallery is from ${dataset.gallery_from}, so a few may differ.`
        : "";
  return [
    element("h2", {}, `Where ${name} errs`),
    element(
      "p",
      { class: "lead" },
      `The network that is served names ${percent(test.accuracy)} of ${images} correctly. Each row tells what the images of a class were taken for; a number leads to such images.${difference}`,
    ),
    test.confusion_matrix && classes.length <= MATRIX_CLASSES ? confusionMatrix(test.confusion_matrix, classes) : topConfusions(test, classes),
  ];
}

/** @param {Record<string, import("../lib/api.js").LayerRetrieval>} retrieval from the first layer to the last */
function retrievalQuality(retrieval) {
  const rows = Object.entries(retrieval).map(([name, layer], index) => ({ name, index, ...layer }));
  return [
    element("h2", {}, "How good its neighbours are, by layer"),
    element(
      "p",
      { class: "lead" },
      `Each of ${plural(rows[0].queries, "test image")} is a query against the others. Early layers find what looks alike, late layers what is alike: the class comes out on the way through the network.`,
    ),
    table(
      "Quality of the neighbours by layer",
      [
        { title: "Layer", value: ({ index }) => index, show: ({ name }) => name },
        { title: "Dimensions", value: ({ dimension }) => dimension, show: ({ dimension }) => dimension.toLocaleString("en"), number: true },
        metricColumn("Precision at 10", "precision_at_10"),
        metricColumn("Mean average precision", "mean_average_precision"),
      ],
      rows,
    ),
    element(
      "ul",
      { class: "definitions" },
      definition("Precision at 10", "the share of the ten nearest that have the image’s own label."),
      definition("Mean average precision", "the same over the whole ranking, where the first places count most; 1 if all of the own class come before all others."),
    ),
  ];
}

/** @param {string} title @param {"precision_at_10" | "mean_average_precision"} metric @returns {import("./table.js").Column<LayerRow>} */
function metricColumn(title, metric) {
  return { title, value: ({ overall }) => overall[metric], show: ({ overall }) => scoreBar(overall[metric]), number: true };
}

/** @param {number} score from 0 to 1 @returns {HTMLElement} */
function scoreBar(score) {
  const bar = element("span", { class: "bar", "aria-hidden": "true", style: { "--share": score } });
  return element("span", { class: "score-bar" }, bar, decimal(score));
}

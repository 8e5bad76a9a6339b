/** Learning curves of selected experiments, drawn into the same charts. */

import * as api from "../lib/api.js";
import { definition, element } from "../lib/dom.js";
import { saveButtons, saveCsv } from "../lib/save.js";
import { chart } from "./chart.js";

/** Number of experiments selected by default. */
const SELECTED = 2;
const QUANTITIES = {
  loss: ["Loss", "the cross entropy, or how much the true classes surprise the network; lower is better."],
  accuracy: ["Accuracy", "the share of images whose class it names; higher is better."],
};

/** @typedef {api.Experiment} Experiment */

/**
 * Fetch the drawings by quantity.
 * @param {AbortSignal} signal
 * @returns {Promise<Record<string, SVGSVGElement> | null>} null if the bundle has none
 */
export async function fetchDrawings(signal) {
  const names = Object.keys(QUANTITIES);
  const drawings = await Promise.all(names.map((name) => api.nullIfNotFound(api.curvesSvg(name, signal))));
  return drawings.includes(null) ? null : Object.fromEntries(names.map((name, index) => [name, drawings[index]]));
}

/**
 * Show the charts with checkboxes that select experiments.
 * @param {Record<string, SVGSVGElement>} drawings by quantity
 * @param {Experiment[]} experiments
 * @param {string[] | undefined} initial names of the experiments to select first
 * @param {(names: string[]) => void} onSelect
 * @returns {HTMLElement[]}
 */
export function learningCurves(drawings, experiments, initial, onSelect) {
  const charts = Object.entries(QUANTITIES).map(([name, [title]]) => chart(drawings[name], title));
  const names = experiments.map(({ name }) => name);
  const selected = new Set(initial?.filter((name) => names.includes(name)) ?? best(experiments));
  const show = () => charts.forEach((one) => one.show(selected));
  const checkboxes = names.map((name) =>
    element(
      "label",
      {},
      element("input", {
        type: "checkbox",
        value: name,
        checked: selected.has(name),
        onchange: (/** @type {Event} */ { target }) => {
          if (target.checked) selected.add(name);
          else selected.delete(name);
          show();
          onSelect(names.filter((one) => selected.has(one)));
        },
      }),
      charts[0].marker(name),
      name,
    ),
  );
  show();
  return [
    element("fieldset", { class: "curve-choices" }, element("legend", {}, "Experiments shown"), ...checkboxes),
    element("div", { class: "curves" }, ...charts.map(({ figure }) => figure)),
    saveButtons({ CSV: () => saveCurves(names.filter((name) => selected.has(name))) }, "the learning curves"),
    element(
      "ul",
      { class: "definitions" },
      definition("Solid", "on validation images, which it does not learn from. Epochs are spaced by their logarithm."),
      definition("Dashed", "on the training images, as they are altered where an experiment does that."),
      ...Object.values(QUANTITIES).map(([title, meaning]) => definition(title, meaning)),
    ),
  ];
}

/** Save each epoch of each run. @param {string[]} names of the experiments */
async function saveCurves(names) {
  const answers = await Promise.all(names.map((name) => api.runs(name)));
  const epochs = answers.flatMap(({ records }) => records.flatMap(({ experiment, run_id: run, curves = [] }) => curves.map((epoch) => ({ experiment, run, ...epoch }))));
  const titles = Object.keys(epochs[0] ?? {});
  saveCsv([titles, ...epochs.map((epoch) => titles.map((title) => epoch[title]))], "kindred-curves");
}

/** @param {Experiment[]} experiments @returns {string[]} names of those with the best validation accuracy */
function best(experiments) {
  const accuracy = (/** @type {Experiment} */ { validation_accuracy: stats }) => stats?.mean ?? 0;
  return [...experiments].sort((a, b) => accuracy(b) - accuracy(a)).slice(0, SELECTED).map(({ name }) => name);
}

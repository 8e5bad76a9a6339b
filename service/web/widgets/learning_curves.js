/** The learning curves of any experiments, laid over each other. */

import * as api from "../lib/api.js";
import { chart } from "./chart.js";
import { element, meaning } from "../lib/dom.js";

const SHOWN = 2;
const QUANTITIES = {
  loss: ["Loss", "the cross entropy, or how much the true classes surprise the network; lower is better."],
  accuracy: ["Accuracy", "the share of images whose class it names; higher is better."],
};

/** @typedef {api.Experiment} Experiment */

/**
 * The drawings, or null where the bundle has none.
 * @param {AbortSignal} signal
 * @returns {Promise<Record<string, SVGSVGElement> | null>}
 */
export async function drawings(signal) {
  const names = Object.keys(QUANTITIES);
  const drawn = await Promise.all(names.map((name) => api.orNull(api.drawing(name, signal))));
  return drawn.includes(null) ? null : Object.fromEntries(names.map((name, index) => [name, drawn[index]]));
}

/**
 * @param {Record<string, SVGSVGElement>} drawn
 * @param {Experiment[]} experiments
 * @param {string[] | undefined} asked the names of those to show first
 * @param {(names: string[]) => void} choose
 * @returns {HTMLElement[]}
 */
export function curves(drawn, experiments, asked, choose) {
  const charts = Object.entries(QUANTITIES).map(([name, [title]]) => chart(drawn[name], title));
  const names = experiments.map(({ name }) => name);
  const chosen = new Set(asked?.filter((name) => names.includes(name)) ?? best(experiments));
  const show = () => charts.forEach((one) => one.show(chosen));
  const choices = names.map((name) =>
    element(
      "label",
      {},
      element("input", {
        type: "checkbox",
        value: name,
        checked: chosen.has(name),
        onchange: (/** @type {Event} */ { target }) => {
          if (target.checked) chosen.add(name);
          else chosen.delete(name);
          show();
          choose(names.filter((one) => chosen.has(one)));
        },
      }),
      charts[0].sign(name),
      name,
    ),
  );
  show();
  return [
    element("fieldset", { class: "choices" }, element("legend", {}, "Experiments shown"), ...choices),
    element("div", { class: "curves" }, ...charts.map(({ shown }) => shown)),
    element(
      "ul",
      { class: "meanings" },
      meaning("Solid", "on validation images, which it does not learn from. Epochs are spaced by their logarithm."),
      meaning("Dashed", "on the training images, as they are altered where an experiment does that."),
      ...Object.values(QUANTITIES).map(([title, said]) => meaning(title, said)),
    ),
  ];
}

/** @param {Experiment[]} experiments @returns {string[]} the names of those that did best on validation images */
function best(experiments) {
  const reached = (/** @type {Experiment} */ { validation_accuracy: spread }) => spread?.mean ?? 0;
  return [...experiments].sort((a, b) => reached(b) - reached(a)).slice(0, SHOWN).map(({ name }) => name);
}

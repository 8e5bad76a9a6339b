/** The stored experiments: published and measured side by side, and how each one learned. */

import * as api from "./api.js";
import { announce, whileBusy } from "./busy.js";
import { complaint, element } from "./dom.js";
import { table } from "./table.js";
import { counted, figure, percent } from "./words.js";

/** @typedef {api.Experiment} Experiment */

export class Experiments {
  /** @param {HTMLElement} main @param {unknown} _place @param {AbortSignal} signal */
  async render(main, _place, signal) {
    document.title = "Experiments · kindred";
    const body = element("div", { class: "experiments" });
    main.replaceChildren(
      element("h1", {}, "Experiments"),
      element(
        "p",
        { class: "lead" },
        "The same small network, regularised in different ways. Published figures are of single runs on other hardware; ours are means over the runs, ± one standard deviation where there are several.",
      ),
      body,
    );
    try {
      const { experiments } = await whileBusy(api.experiments(signal));
      if (signal.aborted) return;
      if (experiments.length === 0) {
        body.append(element("p", {}, "This bundle carries no experiments yet."));
        return;
      }
      body.append(
        table("Experiments: time and accuracy, published and ours", columns(), experiments),
        element(
          "ul",
          { class: "meanings" },
          meaning("Training", "seconds for all epochs; it compares machines as much as networks."),
          meaning("Validation", "accuracy on images kept aside to choose settings by, after the last epoch."),
          meaning("Test", "accuracy on images that neither training nor any choice has seen."),
        ),
        element("h2", {}, "How each one learned"),
        element("p", { class: "lead" }, "Where the training curve leaves the validation curve behind, the network learns its images by heart."),
        element("div", { class: "curves" }, ...experiments.map(curves)),
      );
      announce(`${counted(experiments.length, "experiment")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(complaint(error.message));
    }
  }
}

/** @returns {import("./table.js").Column<Experiment>[]} */
function columns() {
  const measured = (/** @type {string} */ group, /** @type {keyof Experiment} */ key, /** @type {(value: number) => string} */ show) => [
    {
      group,
      title: "published",
      number: true,
      value: (/** @type {Experiment} */ { published }) => published?.[key] ?? null,
      show: (/** @type {Experiment} */ { published }) => (published ? show(published[key]) : "–"),
    },
    {
      group,
      title: "ours",
      number: true,
      value: (/** @type {Experiment} */ experiment) => experiment[key]?.mean ?? null,
      show: (/** @type {Experiment} */ experiment) => spread(experiment[key], show),
    },
  ];
  const accuracy = (/** @type {number} */ value) => figure(value * 100, 2);
  return [
    {
      title: "Experiment",
      value: ({ name }) => name,
    },
    { title: "Blocks", value: ({ conv_blocks: blocks }) => blocks, number: true },
    { title: "Runs", value: ({ runs: count }) => count, show: runs, number: true },
    ...measured("Training, s", "training_seconds", (value) => figure(value, 1)),
    ...measured("Validation, %", "validation_accuracy", accuracy),
    ...measured("Test, %", "test_accuracy", accuracy),
  ];
}

/** @param {Experiment} experiment @returns {string} */
function runs({ runs: count, collapsed }) {
  return collapsed ? `${count}, ${collapsed} collapsed` : String(count);
}

/** @param {api.Spread | null} measured @param {(value: number) => string} show @returns {string} */
function spread(measured, show) {
  if (!measured) return "–";
  return measured.std === null ? show(measured.mean) : `${show(measured.mean)} ± ${show(measured.std)}`;
}

/** @param {string} term @param {string} said */
function meaning(term, said) {
  return element("li", {}, element("strong", {}, term), `: ${said}`);
}

/** @param {Experiment} experiment @returns {HTMLElement} */
function curves({ name, published_name: alias, validation_accuracy: reached }) {
  const said = reached ? `validation accuracy ends at ${percent(reached.mean)}` : "no finished run";
  const image = element("img", {
    src: `/experiments/${encodeURIComponent(name)}/curves.svg`,
    alt: `Learning curves of ${name}: loss and accuracy by epoch, for training and validation; ${said}.`,
    loading: "lazy",
    onerror: () => image.replaceWith(element("p", { class: "no-preview" }, "There are no curves of this experiment.")),
  });
  return element(
    "figure",
    {},
    element("figcaption", {}, element("strong", {}, name), `: ${said}`, alias ? element("span", { class: "alias" }, `published as ${alias}`) : null),
    image,
  );
}

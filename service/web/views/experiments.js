/** The stored experiments: published and measured side by side, and how each one learned. */

import { write } from "../lib/router.js";
import * as api from "../lib/api.js";
import { announce } from "../widgets/busy_indicator.js";
import { curves, drawings } from "../widgets/learning_curves.js";
import { complaint, element, meaning } from "../lib/dom.js";
import { persevere } from "../widgets/retry.js";
import { served } from "../widgets/evaluation.js";
import { table } from "../widgets/table.js";
import { counted, figure } from "../lib/format.js";

/** @typedef {api.Experiment} Experiment */

const DIFFERS =
  "The report averaged over batches, and measured its augmented runs on augmented images; ours counts each image once, as it is.";
const COLLAPSED = "never did better than guessing, and is left out of the accuracies, but not of the seconds.";

export class Experiments {
  #model;

  /** @param {Promise<api.Model>} model */
  constructor(model) {
    this.#model = model;
  }

  /** @param {HTMLElement} main @param {import("../lib/router.js").Place} place @param {AbortSignal} signal */
  async render(main, place, signal) {
    document.title = "Experiments · kindred";
    const body = element("div", { class: "experiments" });
    main.replaceChildren(
      element("h1", {}, "Experiments"),
      element(
        "p",
        { class: "lead" },
        "One small network, regularised in different ways. “Published” is the course report that this project grew out of: one run each, on other hardware. “Ours” is the mean over our runs, ± one standard deviation where there are several.",
      ),
      body,
    );
    try {
      const model = await this.#model;
      const ask = () =>
        Promise.all([api.experiments(signal), drawings(signal), api.orNull(api.runs(model.name, signal))]);
      const [{ experiments }, drawn, runs] = await persevere(body, ask, signal);
      if (signal.aborted) return;
      if (experiments.length === 0) body.append(element("p", {}, "This bundle carries no experiments yet."));
      else body.append(...results(experiments, model.name), ...learning(experiments, drawn, place));
      const run = runs?.records.find(({ run_id: id }) => id === model.run_id);
      if (run) body.append(...served(run, model));
      announce(`${counted(experiments.length, "experiment")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(complaint(error.message));
    }
  }
}

/** @param {Experiment[]} experiments @param {string} chosen the name of the one that is served */
function results(experiments, chosen) {
  const once = experiments.every(({ runs: count }) => count === 1);
  const compared = experiments.filter(({ published, runs: count }) => published && count > 0);
  const reached = compared.filter(({ published, test_accuracy: ours }) => ours?.mean >= published.test_accuracy);
  return [
    table("Experiments: time and accuracy, published and ours", columns(chosen), experiments),
    element(
      "ul",
      { class: "meanings" },
      meaning("Training", "seconds for all epochs; it compares machines as much as networks."),
      meaning("Validation", "accuracy on images kept aside to choose settings by, after the last epoch."),
      meaning("Test", "accuracy on images that neither training nor any choice has seen."),
      ...(compared.length > 0
        ? [meaning("Beside the published", `${reached.length} of ${compared.length} reach the published test accuracy here. ${DIFFERS}`)]
        : []),
      ...(experiments.some(({ published_name: name }) => !name) ? [meaning("Without a published name", "our own recipe for the same network.")] : []),
      ...(experiments.some(({ collapsed }) => collapsed) ? [meaning("Collapsed", COLLAPSED)] : []),
      ...(once ? [meaning("One run each so far", "a percentage point between two of them may be chance.")] : []),
    ),
  ];
}

/**
 * @param {Experiment[]} experiments
 * @param {Record<string, SVGSVGElement> | null} drawn
 * @param {import("../lib/router.js").Place} place
 * @returns {HTMLElement[]}
 */
function learning(experiments, drawn, place) {
  const choose = (/** @type {string[]} */ names) => history.replaceState(null, "", write({ ...place, curves: names }));
  return [
    element("h2", {}, "How each one learned"),
    element("p", { class: "lead" }, "Where the training curve leaves the validation curve behind, the network learns its images by heart."),
    ...(drawn
      ? curves(drawn, experiments, place.curves, choose)
      : [element("p", {}, "This bundle was built before its curves could be shown here; one that is built now has them.")]),
  ];
}

/** @param {string} chosen @returns {import("../widgets/table.js").Column<Experiment>[]} */
function columns(chosen) {
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
      show: ({ name }) => (name === chosen ? element("span", {}, name, " ", element("span", { class: "served" }, "served")) : name),
    },
    { title: "Blocks", value: ({ conv_blocks: blocks }) => blocks, number: true },
    { title: "Runs", value: ({ runs: count }) => count, show: runs, number: true },
    ...measured("Training, s", "training_seconds", (value) => figure(value, 1)),
    ...measured("Validation, %", "validation_accuracy", accuracy),
    ...measured("Test, %", "test_accuracy", accuracy),
    {
      title: "Published as",
      value: ({ published_name: name }) => name,
      show: ({ published_name: name }) => element("span", { class: "alias" }, ...breakable(name ?? "–")),
    },
  ];
}

/** @param {string} name long, with underscores @returns {(Node | string)[]} which may go on in another line after each */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);
}

/** @param {Experiment} experiment @returns {string} */
function runs({ runs: count, collapsed }) {
  if (!collapsed) return String(count);
  return collapsed === count ? `${count}, collapsed` : `${count}, ${collapsed} collapsed`;
}

/** @param {api.Spread | null} measured @param {(value: number) => string} show @returns {string} */
function spread(measured, show) {
  if (!measured) return "–";
  return measured.std === null ? show(measured.mean) : `${show(measured.mean)} ± ${show(measured.std)}`;
}

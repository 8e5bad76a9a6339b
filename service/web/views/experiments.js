/** The experiments view: published and measured results, learning curves, and model evaluation. */

import * as api from "../lib/api.js";
import { definition, element, errorMessage } from "../lib/dom.js";
import { decimal, plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { announce } from "../widgets/busy_indicator.js";
import { evaluation } from "../widgets/evaluation.js";
import { fetchDrawings, learningCurves } from "../widgets/learning_curves.js";
import { retry } from "../widgets/retry.js";
import { table } from "../widgets/table.js";

/**
 * @typedef {api.Experiment} Experiment
 * @typedef {import("../lib/router.js").Route} Route
 */

const LEAD = "One small network, regularised in different ways. Each figure is the mean over the runs, ± one standard deviation where there are several.";
const PUBLISHED = "“Published” is the course report that this project grew out of: one run each, on other hardware.";
const DIFFERENCE =
  "The report averaged over batches, and measured its augmented runs on augmented images; ours counts each image once, as it is.";
const COLLAPSED = "never did better than guessing, and is left out of the accuracies, but not of the seconds.";
const TESTED =
  "Test accuracies compared seed by seed (paired t-test, corrected for the number of comparisons). Each pair differs in one thing.";

/** The course report is about one data set; experiments with other data have none of its figures. */
const isPublished = (/** @type {Experiment} */ { published }) => published !== null;

export class ExperimentsView {
  #model;

  /** @param {Promise<api.Model>} model */
  constructor(model) {
    this.#model = model;
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async render(main, route, signal) {
    document.title = "Experiments · kindred";
    const body = element("div", { class: "experiments" });
    const lead = element("p", { class: "lead" }, LEAD);
    main.replaceChildren(
      element("h1", {}, "Experiments"),
      lead,
      body,
    );
    try {
      const model = await this.#model;
      if (signal.aborted) return;
      if (model.run_id === null) {
        lead.textContent = "This gallery has no classes, so nothing was trained.";
        return;
      }
      const request = () =>
        Promise.all([api.experiments(signal), fetchDrawings(signal), api.nullIfNotFound(api.runs(model.name, signal))]);
      const [{ experiments, comparisons }, drawings, runs] = await retry(body, request, signal);
      if (signal.aborted) return;
      if (experiments.some(isPublished)) lead.append(` ${PUBLISHED}`);
      if (experiments.length === 0) body.append(element("p", {}, "This bundle carries no experiments yet."));
      else body.append(...results(experiments, model.name), ...differences(comparisons), ...curves(experiments, drawings, route));
      const run = runs?.records.find(({ run_id: id }) => id === model.run_id);
      if (run) body.append(...evaluation(run, model));
      announce(`${plural(experiments.length, "experiment")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(errorMessage(error.message));
    }
  }
}

/** @param {Experiment[]} experiments @param {string} served name of the served model's experiment */
function results(experiments, served) {
  const singleRuns = experiments.every(({ runs: count }) => count === 1);
  const withReport = experiments.some(isPublished);
  const compared = experiments.filter((one) => isPublished(one) && one.runs > 0);
  const reproduced = compared.filter(({ published, test_accuracy: ours }) => ours?.mean >= published.test_accuracy);
  return [
    table(withReport ? "Experiments: time and accuracy, published and ours" : "Experiments: time and accuracy", columns(served, withReport), experiments),
    element(
      "ul",
      { class: "definitions" },
      definition("Training", "seconds for all epochs; it compares machines as much as networks."),
      definition("Validation", "accuracy on images held out to choose settings by, after the last epoch."),
      definition("Test", "accuracy on images that neither training nor any choice has seen."),
      compared.length > 0 &&
        definition("Beside the published", `${reproduced.length} of ${compared.length} reach the published test accuracy here. ${DIFFERENCE}`),
      withReport && experiments.some(({ published_name: name }) => !name) && definition("Without a published name", "our own recipe for the same network."),
      experiments.some(({ collapsed }) => collapsed) && definition("Collapsed", COLLAPSED),
      singleRuns && definition("One run each so far", "a percentage point between two of them may be chance."),
    ),
  ];
}

/**
 * Say which differences are larger than those between seeds.
 * @param {api.Comparison[]} comparisons
 * @returns {HTMLElement[]}
 */
function differences(comparisons) {
  if (comparisons.length === 0) return [];
  return [
    element("h2", {}, "Larger than the seeds’ own differences?"),
    element("p", { class: "lead" }, TESTED),
    element("ul", { class: "definitions comparisons" }, ...comparisons.map(({ words }) => element("li", {}, words))),
  ];
}

/**
 * Show the learning curves. Selecting others updates the address.
 * @param {Experiment[]} experiments
 * @param {Record<string, SVGSVGElement> | null} drawings
 * @param {Route} route
 * @returns {HTMLElement[]}
 */
function curves(experiments, drawings, route) {
  const onSelect = (/** @type {string[]} */ names) => history.replaceState(null, "", formatRoute({ ...route, curves: names }));
  return [
    element("h2", {}, "How each one learned"),
    element("p", { class: "lead" }, "Where the training curve leaves the validation curve behind, the network learns its images by heart."),
    ...(drawings
      ? learningCurves(drawings, experiments, route.curves, onSelect)
      : [element("p", {}, "This bundle was built before its curves could be shown here; one that is built now has them.")]),
  ];
}

/** @param {string} served @param {boolean} withReport @returns {import("../widgets/table.js").Column<Experiment>[]} */
function columns(served, withReport) {
  const measured = (/** @type {string} */ group, /** @type {keyof Experiment} */ key, /** @type {(value: number) => string} */ show) => [
    withReport && {
      group,
      title: "published",
      number: true,
      value: (/** @type {Experiment} */ { published }) => published?.[key] ?? null,
      show: (/** @type {Experiment} */ { published }) => (published ? show(published[key]) : "–"),
    },
    {
      group: withReport ? group : undefined,
      title: withReport ? "ours" : group,
      number: true,
      value: (/** @type {Experiment} */ experiment) => experiment[key]?.mean ?? null,
      show: (/** @type {Experiment} */ experiment) => formatStats(experiment[key], show),
    },
  ];
  const accuracy = (/** @type {number} */ value) => decimal(value * 100, 2);
  return [
    {
      title: "Experiment",
      value: ({ name }) => name,
      show: ({ name }) => (name === served ? element("span", {}, name, " ", element("span", { class: "badge" }, "served")) : name),
    },
    { title: "Blocks", value: ({ conv_blocks: blocks }) => blocks, number: true },
    { title: "Runs", value: ({ runs: count }) => count, show: formatRuns, number: true },
    ...measured("Training, s", "training_seconds", (value) => decimal(value, 1)),
    ...measured("Validation, %", "validation_accuracy", accuracy),
    ...measured("Test, %", "test_accuracy", accuracy),
    withReport && {
      title: "Published as",
      value: ({ published_name: name }) => name,
      show: ({ published_name: name }) => element("span", { class: "published-name" }, ...breakable(name ?? "–")),
    },
  ].filter(Boolean);
}

/** @param {string} name @returns {(Node | string)[]} with a line break opportunity after each underscore */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);
}

/** @param {Experiment} experiment @returns {string} */
function formatRuns({ runs: count, collapsed }) {
  if (!collapsed) return String(count);
  return collapsed === count ? `${count}, collapsed` : `${count}, ${collapsed} collapsed`;
}

/** @param {api.RunStats | null} stats @param {(value: number) => string} show @returns {string} */
function formatStats(stats, show) {
  if (!stats) return "–";
  return stats.std === null ? show(stats.mean) : `${show(stats.mean)} ± ${show(stats.std)}`;
}

/** The search view: a query image, its predicted class and its nearest neighbours. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { nameOf } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { saveButtons } from "../lib/save.js";
import { announce } from "../widgets/busy_indicator.js";
import { layerChoice } from "../widgets/layer_choice.js";
import { saveNeighbours } from "../widgets/neighbour_picture.js";
import { neighbourRow } from "../widgets/neighbours.js";
import { prediction, predictionSummary } from "../widgets/prediction.js";
import { copyCanvas, galleryQuery, uploadedQuery } from "../widgets/query.js";
import { reconstructions } from "../widgets/reconstructions.js";
import { refineBar } from "../widgets/refine.js";
import { retry } from "../widgets/retry.js";
import { tile } from "../widgets/tile.js";
import { tray } from "../widgets/tray.js";
import { isTouchDevice, uploadButtons } from "../widgets/upload.js";
import { welcome } from "./welcome.js";

const NEIGHBOURS = 12;
const CLASSES = 10;
const LEAD = "The nearest at each layer of the network, with their cosine, 1 at most. Pick one to see why.";

/**
 * @typedef {import("../lib/router.js").Route} Route
 * @typedef {import("../widgets/prediction.js").Result} Result
 * @typedef {Record<"view" | "images" | "prediction" | "rows" | "extra", HTMLElement>} Layout
 */

export class PredictView {
  #images;
  #model;
  #onUpload;
  /** Results by route, so that going back sends no request. */
  /** @type {Map<string, Result>} */
  #results = new Map();

  /**
   * @param {import("../widgets/session_images.js").SessionImages} images
   * @param {Promise<api.Model>} model
   * @param {(images: Blob[]) => void} onUpload
   */
  constructor(images, model, onUpload) {
    this.#images = images;
    this.#model = model;
    this.#onUpload = onUpload;
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async render(main, route, signal) {
    if (route.image) await this.#renderGalleryImage(main, route, signal);
    else if (route.upload) await this.#renderUpload(main, route, signal);
    else await welcome(main, this.#model, this.#onUpload, signal);
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async #renderUpload(main, route, signal) {
    const image = this.#images.get(route.upload);
    if (!image) {
      const notice = "That image was only in the tab that it was dropped on. Upload it again.";
      await welcome(main, this.#model, this.#onUpload, signal, notice);
      return;
    }
    const layout = this.#createLayout([]);
    layout.extra.prepend(tray(this.#images.all(), image.name) ?? "");
    main.replaceChildren(layout.view);
    const model = await this.#model.catch(() => null);
    if (signal.aborted || !model) return;
    const { blob, modelInput } = await this.#images.prepare(image, model);
    if (signal.aborted) return;
    layout.images.replaceChildren(...uploadedQuery(image.url, modelInput && copyCanvas(modelInput)));
    const drawQuery = () => (modelInput ? copyCanvas(modelInput) : element("span", { class: "placeholder" }, "your image"));
    await this.#fill(main, layout, route, signal, drawQuery, async (layers) => {
      const examples = { more: route.more ?? [], less: route.less ?? [] };
      if (examples.more.length + examples.less.length === 0) {
        const result = await api.predict(blob, layers, NEIGHBOURS, signal);
        return { ...result, source: { blob }, predicted: predictedClass(result) };
      }
      const [result, ...searches] = await Promise.all([
        classify(blob, model, signal),
        ...layers.map((layer) => api.recommend(blob, examples, layer, NEIGHBOURS, signal)),
      ]);
      return { ...result, source: { blob }, similar: byLayer(layers, searches), predicted: predictedClass(result) };
    });
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async #renderGalleryImage(main, route, signal) {
    const layout = this.#createLayout([]);
    await this.#fill(main, layout, route, signal, ({ item }) => tile(item), async (layers) => {
      const model = await this.#model;
      const item = await api.item(route.image, signal);
      const { more = [], less = [] } = route;
      const search = (/** @type {string} */ layer) =>
        more.length + less.length === 0
          ? api.similarTo(item.id, layer, NEIGHBOURS, signal)
          : api.recommend(null, { more: [item.id, ...more], less }, layer, NEIGHBOURS, signal);
      const [classification, ...searches] = await Promise.all([
        classifyItem(item, model, signal),
        ...layers.map(search),
      ]);
      return {
        ...classification,
        source: { item },
        similar: byLayer(layers, searches),
        predicted: predictedClass(classification) ?? item.label,
        item,
      };
    });
  }

  /**
   * Show the layout at once, then fill it with the result or an error.
   * @param {HTMLElement} main @param {Layout} layout @param {Route} route
   * @param {AbortSignal} signal
   * @param {(result: Result) => HTMLElement} drawQuery
   * @param {(layers: string[]) => Promise<Result>} request
   */
  async #fill(main, layout, route, signal, drawQuery, request) {
    const key = formatRoute({ ...route, explain: undefined });
    main.replaceChildren(layout.view);
    try {
      const model = await this.#model;
      const layers = chosenLayers(model, route);
      const result = this.#results.get(key) ?? (await retry(layout.prediction, () => withExamples(route, () => request(layers), signal), signal));
      if (signal.aborted) return;
      this.#results.set(key, result);
      if (result.item) layout.images.replaceChildren(galleryQuery(result.item));
      layout.prediction.replaceChildren(...prediction(result));
      const rows = layers.map((layer) =>
        neighbourRow({
          layer,
          model,
          route,
          neighbours: result.similar[layer],
          predicted: result.predicted,
          source: result.source,
          drawQuery: () => drawQuery(result),
          explained: route.explain?.layer === layer ? route.explain.id : null,
          onExplain: (id) => {
            rows.forEach(({ collapse }, index) => layers[index] !== layer && collapse());
            history.replaceState(null, "", formatRoute({ ...route, explain: id === null ? undefined : { layer, id } }));
          },
        }),
      );
      const choose = (/** @type {string[]} */ chosen) => (location.hash = formatRoute({ ...route, explain: undefined, layers: chosen }));
      layout.rows.replaceChildren(
        element("div", { class: "rows-head" }, element("p", { class: "lead" }, LEAD), layerChoice(api.searchable(model), layers, choose)),
        refineBar(route, result.examples) ?? "",
        ...rows.map(({ section }) => section),
        saveButtons({ PNG: () => saveNeighbours(drawQuery(result), result, layers) }, "the neighbours"),
      );
      layout.extra.prepend(
        ...[model.map && mapLink(route), reconstructions(model, result.source)].filter(Boolean),
      );
      document.title = `${result.predicted ?? (result.item ? nameOf(result.item) : "Search")} · kindred`;
      announce(`${predictionSummary(result)} ${result.similar[layers[0]].length} similar images at each layer.`.trim());
    } catch (error) {
      if (signal.aborted) return;
      layout.prediction.replaceChildren(errorMessage(error.message));
      document.title = "kindred";
    }
  }

  /**
   * Create the view without a result.
   * @param {HTMLElement[]} figures of the query
   */
  #createLayout(figures) {
    const images = element("div", { class: "query-images" }, ...figures);
    const predictionSlot = element("div", { class: "prediction" });
    const rows = element("div", { class: "rows" });
    const uploadAgain = element(
      "div",
      { class: "upload-again" },
      element("p", {}, isTouchDevice() ? "Another?" : "Another? Drop or paste it anywhere."),
      uploadButtons(this.#onUpload),
    );
    const query = element("div", { class: "query" }, images, predictionSlot);
    const extra = element("div", { class: "query-extra" }, uploadAgain);
    return { view: element("div", { class: "predict-view" }, query, rows, extra), images, prediction: predictionSlot, rows, extra };
  }
}

/** @param {api.Model} model @param {Route} route @returns {string[]} the layers of the address, or the first and the last */
function chosenLayers(model, route) {
  const all = api.searchable(model);
  const chosen = all.filter((layer) => route.layers?.includes(layer));
  return chosen.length > 0 ? chosen : [...new Set([all[0], all.at(-1)])];
}

/** @param {string[]} layers @param {{ similar: api.Neighbour[] }[]} searches @returns {Record<string, api.Neighbour[]>} */
const byLayer = (layers, searches) => Object.fromEntries(layers.map((layer, index) => [layer, searches[index].similar]));

/** @param {Route} route @returns {HTMLElement} */
const mapLink = ({ image, upload }) => element("p", {}, element("a", { href: formatRoute({ view: "map", image, upload }) }, "See where it lies on the map"));

/**
 * Request the result, and the images of its examples.
 * @param {Route} route @param {() => Promise<Result>} request @param {AbortSignal} signal
 * @returns {Promise<Result>}
 */
async function withExamples({ more = [], less = [] }, request, signal) {
  const [result, ...items] = await Promise.all([request(), ...[...more, ...less].map((id) => api.item(id, signal))]);
  return { ...result, examples: Object.fromEntries(items.map((item) => [item.id, item])) };
}

/** @param {api.Classification} result @returns {string | null} the likeliest class, if there is any */
const predictedClass = ({ predictions }) => predictions[0]?.label ?? null;

/**
 * Classify an image. Return no predictions if there are no classes.
 * @param {Blob} blob @param {api.Model} model @param {AbortSignal} signal @returns {Promise<api.Classification>}
 */
async function classify(blob, { classes }, signal) {
  return classes.length === 0 ? { predictions: [] } : api.classify(blob, Math.min(CLASSES, classes.length), signal);
}

/**
 * Classify a gallery image. Return no predictions if its pixels are missing, or if there are no classes.
 * @param {api.Item} item @param {api.Model} model @param {AbortSignal} signal @returns {Promise<api.Classification>}
 */
async function classifyItem(item, model, signal) {
  if (!item.image || model.classes.length === 0) return { predictions: [] };
  return classify(await api.imageBytes(item.image, signal, "network"), model, signal);
}

/** The search view: a query image, its predicted class and its nearest neighbours. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { preprocess } from "../lib/preprocess.js";
import { formatRoute } from "../lib/router.js";
import { announce } from "../widgets/busy_indicator.js";
import { neighbourRow } from "../widgets/neighbours.js";
import { prediction, predictionSummary } from "../widgets/prediction.js";
import { copyCanvas, galleryQuery, uploadedQuery } from "../widgets/query.js";
import { retry } from "../widgets/retry.js";
import { tile } from "../widgets/tile.js";
import { isTouchDevice, uploadButtons } from "../widgets/upload.js";
import { welcome } from "./welcome.js";

const NEIGHBOURS = 12;
const CLASSES = 10;
const LEAD =
  "The nearest at two layers of the network, each with its cosine, 1 at most. Pick one to see why.";

/**
 * @typedef {import("../lib/router.js").Route} Route
 * @typedef {import("../widgets/prediction.js").Result} Result
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
   * @param {(image: Blob) => void} onUpload
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
    const modelInput = await preprocess(image.blob);
    if (signal.aborted) return;
    const layout = createLayout(uploadedQuery(image.url, modelInput), this.#onUpload);
    const drawQuery = () => (modelInput ? copyCanvas(modelInput) : element("span", { class: "placeholder" }, "your image"));
    await this.#fill(main, layout, route, signal, drawQuery, async () => {
      const result = await api.predict(image.blob, NEIGHBOURS, signal);
      return { ...result, predicted: result.predictions[0].label };
    });
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async #renderGalleryImage(main, route, signal) {
    const layout = createLayout([], this.#onUpload);
    await this.#fill(main, layout, route, signal, ({ item }) => tile(item), async () => {
      const model = await this.#model;
      const [item] = api.withoutMissingImages([await api.item(route.image, signal)], model);
      const [classification, ...searches] = await Promise.all([
        classifyItem(item, Math.min(CLASSES, model.classes.length), signal),
        ...api.LAYERS.map((layer) => api.similarTo(item.id, layer, NEIGHBOURS, signal)),
      ]);
      const similar = Object.fromEntries(api.LAYERS.map((layer, index) => [layer, searches[index].similar]));
      return { ...classification, similar, predicted: classification.predictions[0]?.label ?? item.label, item };
    });
  }

  /**
   * Show the layout at once, then fill it with the result or an error.
   * @param {HTMLElement} main @param {ReturnType<typeof createLayout>} layout @param {Route} route
   * @param {AbortSignal} signal
   * @param {(result: Result) => HTMLElement} drawQuery
   * @param {() => Promise<Result>} request
   */
  async #fill(main, layout, route, signal, drawQuery, request) {
    const key = formatRoute({ ...route, explain: undefined });
    main.replaceChildren(layout.view);
    try {
      const model = await this.#model;
      const result = this.#results.get(key) ?? (await retry(layout.prediction, request, signal));
      if (signal.aborted) return;
      this.#results.set(key, result);
      if (result.item) layout.images.replaceChildren(galleryQuery(result.item));
      layout.prediction.replaceChildren(...prediction(result));
      const rows = api.LAYERS.map((layer) =>
        neighbourRow({
          layer,
          neighbours: api.withoutMissingImages(result.similar[layer], model),
          predicted: result.predicted,
          classes: model.classes,
          drawQuery: () => drawQuery(result),
          explained: route.explain?.layer === layer ? route.explain.id : null,
          onExplain: (id) => {
            rows.forEach(({ collapse }, index) => api.LAYERS[index] !== layer && collapse());
            history.replaceState(null, "", formatRoute({ ...route, explain: id === null ? undefined : { layer, id } }));
          },
        }),
      );
      layout.rows.replaceChildren(element("p", { class: "lead" }, LEAD), ...rows.map(({ section }) => section));
      document.title = `${result.predicted} · kindred`;
      announce(`${predictionSummary(result)} ${result.similar.conv2.length} similar images at each layer.`);
    } catch (error) {
      if (signal.aborted) return;
      layout.prediction.replaceChildren(errorMessage(error.message));
      document.title = "kindred";
    }
  }
}

/**
 * Create the view without a result.
 * @param {HTMLElement[]} figures of the query @param {(image: Blob) => void} onUpload
 */
function createLayout(figures, onUpload) {
  const images = element("div", { class: "query-images" }, ...figures);
  const predictionSlot = element("div", { class: "prediction" });
  const rows = element("div", { class: "rows" });
  const uploadAgain = element(
    "div",
    { class: "upload-again" },
    element("p", {}, isTouchDevice() ? "Another?" : "Another? Drop or paste it anywhere."),
    uploadButtons(onUpload),
  );
  const query = element("div", { class: "query" }, images, predictionSlot, uploadAgain);
  return { view: element("div", { class: "predict-view" }, query, rows), images, prediction: predictionSlot, rows };
}

/**
 * Classify a gallery image. Return no predictions if its pixels are missing.
 * @param {api.Item} item @param {number} topK @param {AbortSignal} signal @returns {Promise<api.Classification>}
 */
async function classifyItem(item, topK, signal) {
  if (!item.image) return { predictions: [] };
  return api.classify(await api.imageBytes(item.image, signal, "network"), topK, signal);
}

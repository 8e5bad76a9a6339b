/** The map view: every gallery image as a point, at each layer of the network. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { decimal, plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { saveButtons } from "../lib/save.js";
import { Layouts } from "../map/layouts.js";
import { legend } from "../map/legend.js";
import { chosenList, nearestList } from "../map/lists.js";
import { LayerSlider } from "../map/slider.js";
import { Stage } from "../map/stage.js";
import { announce } from "../widgets/busy_indicator.js";
import { Curator } from "../widgets/curator.js";
import { copyCanvas } from "../widgets/query.js";
import { retry } from "../widgets/retry.js";
import { starterBanner } from "../widgets/starter_banner.js";
import { tile } from "../widgets/tile.js";
import { uploadButtons } from "../widgets/upload.js";

const NEAREST = 12;
const HELP =
  "Drag to move, scroll or pinch to zoom, hold Shift to draw a lasso. With the keyboard: arrow keys move, plus and minus zoom, 0 shows all, Page Up and Page Down change the layer, Enter lists the images around the centre.";

/** @typedef {import("../lib/router.js").Route} Route */

export class MapView {
  dropHint = "Drop to find its place";
  #images;
  #model;
  #layouts = new Layouts();
  /** @type {Promise<void> | undefined} */
  #styles;

  /** @param {import("../widgets/session_images.js").SessionImages} images @param {Promise<api.Model>} model */
  constructor(images, model) {
    this.#images = images;
    this.#model = model;
  }

  /** Take dropped images. @param {Blob[]} files */
  receive = (files) => {
    location.hash = formatRoute({ ...this.route, image: undefined, upload: this.#images.add(files)[0].name });
  };

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async render(main, route, signal) {
    document.title = "Map · kindred";
    this.route = route;
    const body = element("div", { class: "map-view" });
    const notice = element("div");
    const classesPart = element("span");
    main.replaceChildren(
      element(
        "div",
        { class: "map-head" },
        element("h1", {}, "Map"),
        element("p", { class: "lead" }, "Every gallery image is a point; near points are alike to the network at this layer.", classesPart),
      ),
      notice,
      body,
    );
    try {
      const [model] = await Promise.all([this.#model, (this.#styles ??= loadStyles())]);
      if (model.classes.length > 0) classesPart.textContent = " Go through the layers and watch the classes part.";
      if (!model.map) {
        body.append(element("p", { class: "empty" }, "This bundle has no map. One that is built now has it."));
        return;
      }
      const layers = Object.keys(model.map.layers);
      const layer = layers.includes(route.layer) ? route.layer : (layers.find((one) => api.searchable(model).includes(one)) ?? layers[0]);
      await retry(notice, () => this.#layouts.load(layer, signal), signal);
      if (signal.aborted) return;
      await this.#show(body, notice, model, layers, layer, signal);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(errorMessage(error.message));
    }
  }

  /**
   * @param {HTMLElement} body @param {HTMLElement} notice @param {api.Model} model @param {string[]} layers
   * @param {string} first the layer to begin with @param {AbortSignal} signal
   */
  async #show(body, notice, model, layers, first, signal) {
    const layouts = this.#layouts;
    const readout = element("p", { class: "map-readout", role: "status" });
    const quality = element("p", { class: "map-quality" });
    const side = element("div", { class: "map-side" });
    const curator = new Curator();
    const note = (/** @type {Partial<Route>} */ changed) => {
      this.route = { ...this.route, ...changed };
      history.replaceState(null, "", formatRoute(this.route));
    };
    let [current, wanted] = [first, first];
    const stage = new Stage(layouts, first, {
      thumbnail: (index) => layouts.item(index, model),
      onHover: (index, score) => {
        readout.textContent = index === null ? "" : describe(layouts.item(index, model), score);
      },
      onPick: (index) => (location.hash = formatRoute({ view: "predict", image: layouts.ids[index] })),
      onChoose: (indexes) => {
        const items = indexes.map((index) => layouts.item(index, model));
        side.replaceChildren(chosenList(items, model, curator, () => side.replaceChildren(colours)));
        announce(`${plural(items.length, "image")} chosen.`);
      },
      onLayer: (steps) => slider.step(steps),
      onMove: (at) => note({ at }),
    });
    const colours = legend(layouts, (isolated) => stage.isolate(isolated));
    const slider = new LayerSlider(layers, first, async (layer) => {
      wanted = layer;
      try {
        await retry(notice, () => layouts.load(layer, signal), signal);
      } catch (error) {
        if (!signal.aborted) notice.replaceChildren(errorMessage(error.message));
        return;
      }
      if (signal.aborted || layer !== wanted) return; // another one was asked for in the meantime
      current = layer;
      note({ layer });
      quality.textContent = trustworthiness(model, layer);
      await stage.goTo(layer);
      showNearest();
    });
    const lasso = element("button", { class: "button small", type: "button", "aria-pressed": "false" }, "Lasso");
    lasso.onclick = () => lasso.setAttribute("aria-pressed", String(stage.toggleLasso()));
    const zoom = (/** @type {string} */ text, /** @type {string} */ name, /** @type {() => void} */ act) =>
      element("button", { class: "button small", type: "button", "aria-label": name, onclick: act }, text);
    const tools = element(
      "div",
      { class: "map-tools" },
      lasso,
      zoom("+", "Zoom in", () => stage.zoom(1.6)),
      zoom("−", "Zoom out", () => stage.zoom(1 / 1.6)),
      zoom("All", "Show the whole map", () => stage.reset()),
    );
    const query = element("div", { class: "map-query" });
    let showNearest = () => {};

    quality.textContent = trustworthiness(model, first);
    side.append(colours);
    body.replaceChildren(
      element("div", { class: "map-main" }, slider.view, element("div", { class: "map-frame" }, stage.view, tools, readout), element("p", { class: "map-help", id: "map-help" }, HELP), quality),
      element("div", { class: "map-panel" }, starterBanner(model) ?? "", query, curator.notice, side, saveButtons({ PNG: () => stage.savePng(), SVG: () => stage.saveSvg() }, "the map")),
    );
    stage.start(this.route.at, signal);
    slider.start(signal);
    announce(`Map of ${plural(layouts.ids.length, "image")} at ${first}.`);

    const source = await this.#source(model, signal);
    if (signal.aborted) return;
    query.replaceChildren(source ? "" : element("div", { class: "map-drop" }, element("p", {}, "Drop an image to find its place."), uploadButtons(this.receive)));
    if (!source) return;
    const { places } = await retry(query, () => api.place(source.blob, NEAREST, signal), signal);
    if (signal.aborted) return;
    stage.setQuery(places, source.own === null ? null : layouts.ids.indexOf(source.own), source.picture);
    showNearest = () => {
      const found = (places[current]?.nearest ?? []).filter(({ id }) => id !== source.own);
      query.replaceChildren(nearestList(found, current, source, layouts, model, stage));
    };
    showNearest();
  }

  /**
   * Return the query of the address, if it has one.
   * @param {api.Model} model @param {AbortSignal} signal
   * @returns {Promise<import("../map/lists.js").Source | null>}
   */
  async #source(model, signal) {
    const { image, upload } = this.route;
    const uploaded = upload && this.#images.get(upload);
    if (uploaded) {
      const { blob, modelInput } = await this.#images.prepare(uploaded, model);
      return { blob, picture: modelInput && copyCanvas(modelInput), own: null, href: formatRoute({ view: "predict", upload }) };
    }
    if (!image) return null;
    const item = await api.item(image, signal);
    const path = item.image ?? item.reconstruction;
    if (!path) return null;
    const blob = await api.imageBytes(path, signal, item.image ? "network" : undefined);
    return { blob, picture: tile(item), own: image, href: formatRoute({ view: "predict", image }) };
  }
}

/** Load the styles of the map, which other views do not need. @returns {Promise<void>} */
function loadStyles() {
  return new Promise((resolve) => {
    const href = new URL("../styles/map.css", import.meta.url).href;
    document.head.append(element("link", { rel: "stylesheet", href, onload: () => resolve(), onerror: () => resolve() }));
  });
}

/** @param {{ label: string | null, predicted: string | null, id: string }} item @param {number | undefined} score @returns {string} */
function describe({ label, predicted, id }, score) {
  const mistaken = predicted && predicted !== label ? `, taken for ${predicted}` : "";
  const shown = score === undefined ? "" : `, ${decimal(score)}`;
  return label === null ? `${id}${shown}` : `${label}${mistaken}${shown} · ${id}`;
}

/** @param {api.Model} model @param {string} layer @returns {string} */
function trustworthiness({ map }, layer) {
  const { trustworthiness: value } = map.layers[layer];
  return value === undefined || value === null ? "" : `Trustworthiness at ${layer}: ${decimal(value, 2)}. It is 1 if all points that are near here are near at the layer, too.`;
}

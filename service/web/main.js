/** Starts the page: routes the URL hash to a view and accepts uploads anywhere. */

import * as api from "./lib/api.js";
import { errorMessage } from "./lib/dom.js";
import { UNREACHABLE } from "./lib/problems.js";
import { formatRoute, parseRoute } from "./lib/router.js";
import { GalleryView } from "./views/gallery.js";
import { PredictView } from "./views/predict.js";
import { about } from "./widgets/about.js";
import { retry } from "./widgets/retry.js";
import { SessionImages } from "./widgets/session_images.js";
import { listenForUploads, showUploadError } from "./widgets/upload.js";

/**
 * @typedef {object} View
 * @property {(main: HTMLElement, route: import("./lib/router.js").Route, signal: AbortSignal) => Promise<void>} render
 * @property {string} [dropHint] what a drop on this view does
 * @property {(images: Blob[]) => void} [receive] takes dropped images; else they are searched
 */

const main = document.getElementById("main");
const images = new SessionImages();
const model = retry(document.getElementById("load-error"), api.model);
const search = (/** @type {Blob[]} */ files) => {
  location.hash = formatRoute({ view: "predict", upload: images.add(files)[0].name });
};
const open = {
  predict: () => new PredictView(images, model, search),
  gallery: () => new GalleryView(model, search),
  map: async () => new (await import("./views/map.js")).MapView(images, model),
  experiments: async () => new (await import("./views/experiments.js")).ExperimentsView(model),
};
/** @type {Record<string, Promise<View>>} */
const views = {};
/** @type {View | undefined} */
let shown;
let current = new AbortController();

async function render() {
  current.abort();
  const { signal } = (current = new AbortController());
  const route = parseRoute(location.hash);
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === route.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let view;
  try {
    view = await (views[route.view] ??= Promise.resolve(open[route.view]()));
  } catch {
    delete views[route.view];
    main.replaceChildren(errorMessage(UNREACHABLE));
    return;
  }
  if (signal.aborted) return;
  shown = view;
  document.body.dataset.drop = view.dropHint ?? "Drop to search";
  await view.render(main, route, signal);
}

window.addEventListener("hashchange", () => {
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  render();
});
listenForUploads(
  (files) => (shown?.receive ?? search).call(shown, files),
  (message) => showUploadError(main.querySelector(".upload-buttons") ?? main, message),
);
about(document.getElementById("about"), model);
model.then(
  ({ map, classes }) => {
    document.querySelector("[data-view=map]").hidden = !map;
    document.querySelector("[data-view=experiments]").hidden = classes.length === 0;
  },
  () => {},
);
render();

/** Starts the page: routes the URL hash to a view and accepts uploads anywhere. */

import * as api from "./lib/api.js";
import { formatRoute, parseRoute } from "./lib/router.js";
import { ExperimentsView } from "./views/experiments.js";
import { GalleryView } from "./views/gallery.js";
import { PredictView } from "./views/predict.js";
import { about } from "./widgets/about.js";
import { retry } from "./widgets/retry.js";
import { SessionImages } from "./widgets/session_images.js";
import { listenForUploads, showUploadError } from "./widgets/upload.js";

const main = document.getElementById("main");
const images = new SessionImages();
const model = retry(document.getElementById("load-error"), api.model);
const upload = (/** @type {Blob} */ image) => {
  location.hash = formatRoute({ view: "predict", upload: images.add(image).name });
};
const views = {
  predict: new PredictView(images, model, upload),
  gallery: new GalleryView(model),
  experiments: new ExperimentsView(model),
};
let current = new AbortController();

async function render() {
  current.abort();
  current = new AbortController();
  const route = parseRoute(location.hash);
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === route.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await views[route.view].render(main, route, current.signal);
}

window.addEventListener("hashchange", () => {
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  render();
});
listenForUploads(upload, (message) => showUploadError(main.querySelector(".upload-buttons") ?? main, message));
about(document.getElementById("about"), model);
render();

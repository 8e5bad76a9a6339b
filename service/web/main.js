/** Where the page starts: the address picks a view, and pictures come in from anywhere. */

import { about } from "./widgets/about.js";
import { read, write } from "./lib/router.js";
import { Album } from "./widgets/session_images.js";
import * as api from "./lib/api.js";
import { Experiments } from "./views/experiments.js";
import { Gallery } from "./views/gallery.js";
import { listen, refuse } from "./widgets/upload.js";
import { Look } from "./views/predict.js";
import { persevere } from "./widgets/retry.js";

const main = document.getElementById("main");
const album = new Album();
const model = persevere(document.getElementById("trouble"), api.model);
const take = (/** @type {Blob} */ picture) => {
  location.hash = write({ view: "look", picture: album.add(picture).name });
};
const views = {
  look: new Look(album, model, take),
  gallery: new Gallery(model),
  experiments: new Experiments(model),
};
let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const place = read(location.hash);
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === place.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await views[place.view].render(main, place, leaving.signal);
}

window.addEventListener("hashchange", () => {
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  show();
});
listen(take, (message) => refuse(main.querySelector(".ways-in") ?? main, message));
about(document.getElementById("about"), model);
show();

/** The gallery view: pages of images, filtered by class. Images load when they become visible. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { announce } from "../widgets/busy_indicator.js";
import { retry } from "../widgets/retry.js";
import { galleryCard } from "../widgets/tile.js";

const PAGE_SIZE = 60;

/** @typedef {import("../lib/router.js").Route} Route */

export class GalleryView {
  #model;
  /** Previous page of each page, because the service's cursors only point forward. */
  /** @type {Map<string, string>} */
  #previous = new Map();

  /** @param {Promise<api.Model>} model */
  constructor(model) {
    this.#model = model;
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async render(main, { label, predicted, cursor }, signal) {
    document.title = "Gallery · kindred";
    const body = element("div", { class: "gallery" });
    const classFilter = element("nav", { class: "class-filter", "aria-label": "Classes" });
    main.replaceChildren(
      element("h1", {}, "Gallery"),
      element("p", { class: "lead" }, "The images that yours is compared with. The network was not trained on them. Pick one to find similar images."),
      classFilter,
      body,
    );
    try {
      const model = await this.#model;
      if (signal.aborted) return;
      classFilter.replaceChildren(classLink("All", undefined, label), ...model.classes.map((name) => classLink(name, name, label)));
      const request = () => api.gallery({ label, predicted, cursor, limit: PAGE_SIZE }, signal);
      const page = await retry(body, request, signal);
      const items = api.withoutMissingImages(page.items, model);
      if (signal.aborted) return;
      body.append(
        predicted ? filterNote(label, predicted, model) : "",
        items.length > 0
          ? element("ul", { class: "card-grid small" }, ...items.map((item) => galleryCard(item, !label)))
          : element("p", {}, "There are no images here."),
        this.#pagination({ view: "gallery", label, predicted }, cursor, page.next),
      );
      announce(`${plural(items.length, "image")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(errorMessage(error.message));
    }
  }

  /** @param {Route} route of the first page @param {string | undefined} cursor @param {string | null} next */
  #pagination(route, cursor, next) {
    const current = formatRoute({ ...route, cursor });
    const links = element("nav", { class: "pagination", "aria-label": "Pages" });
    if (cursor) links.append(element("a", { class: "button", href: this.#previous.get(current) ?? formatRoute(route) }, "Previous page"));
    if (next) {
      const href = formatRoute({ ...route, cursor: next });
      this.#previous.set(href, current);
      links.append(element("a", { class: "button primary", href }, "Next page"));
    }
    return links;
  }
}

/**
 * State which images the filter selects, with a link that removes it.
 * @param {string | undefined} label @param {string} predicted @param {api.Model} model
 */
function filterNote(label, predicted, { gallery, metrics }) {
  const incomplete =
    gallery.size < metrics.test_count &&
    ` The gallery has ${gallery.size.toLocaleString("en")} of the ${plural(metrics.test_count, "test image")}.`;
  return element(
    "p",
    { class: "filter-note" },
    "Only those that the network takes for ",
    element("strong", {}, predicted),
    ".",
    incomplete,
    " ",
    element("a", { href: formatRoute({ view: "gallery", label }) }, label ? `All of ${label}` : "All images"),
  );
}

/** @param {string} text @param {string | undefined} label @param {string | undefined} selected */
function classLink(text, label, selected) {
  const href = formatRoute({ view: "gallery", label });
  return element("a", { href, "aria-current": label === selected ? "true" : null }, text);
}

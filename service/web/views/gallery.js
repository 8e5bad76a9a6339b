/** The gallery view: pages of images, what looks like a mistake among them, and how to change them. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { addImages } from "../widgets/add_images.js";
import { announce } from "../widgets/busy_indicator.js";
import { Curator } from "../widgets/curator.js";
import { doubtful } from "../widgets/doubtful.js";
import { duplicates } from "../widgets/duplicates.js";
import { retry } from "../widgets/retry.js";
import { selection } from "../widgets/selection.js";
import { starterBanner } from "../widgets/starter_banner.js";
import { galleryCard } from "../widgets/tile.js";

const PAGE_SIZE = 60;

/** Parts of the gallery: name in the address, title, introduction. */
const PARTS = [
  [undefined, "All images", "The images that yours is compared with. Pick one to find similar images."],
  ["duplicates", "Near-duplicates", "Pairs of images that are nearly the same. Delete one of the two, or leave them."],
  ["doubtful", "Labels in doubt", "Images whose label both the network and most of the ten nearest images disagree with."],
];

/** @typedef {import("../lib/router.js").Route} Route */

export class GalleryView {
  dropHint = "Drop to add to the gallery";
  #model;
  #onSearch;
  /** @type {((images: Blob[]) => void) | undefined} */
  #add;
  /** Previous page of each page, because the service's cursors only point forward. */
  /** @type {Map<string, string>} */
  #previous = new Map();

  /** @param {Promise<api.Model>} model @param {(images: Blob[]) => void} onSearch */
  constructor(model, onSearch) {
    this.#model = model;
    this.#onSearch = onSearch;
  }

  /** Take dropped images. @param {Blob[]} images */
  receive(images) {
    if (this.#add) this.#add(images);
    else this.#onSearch(images);
  }

  /** @param {HTMLElement} main @param {Route} route @param {AbortSignal} signal */
  async render(main, route, signal) {
    const [part, title, lead] = PARTS.find(([name]) => name === route.show) ?? PARTS[0];
    document.title = `${part ? title : "Gallery"} · kindred`;
    this.#add = undefined;
    const body = element("div", { class: "gallery" });
    const tools = element("div", { class: "gallery-tools" });
    const curator = new Curator();
    const tabs = PARTS.map(([name, text]) => tab(name, text, part));
    main.replaceChildren(
      element("h1", {}, "Gallery"),
      element("nav", { class: "tabs", "aria-label": "Parts of the gallery" }, ...tabs),
      element("p", { class: "lead" }, lead),
      tools,
      curator.notice,
      body,
    );
    try {
      const model = await this.#model;
      if (signal.aborted) return;
      if (model.classes.length === 0) tabs.at(-1).remove(); // no label is in doubt
      tools.append(starterBanner(model) ?? "", this.#addPanel(model));
      if (part === "duplicates") await duplicates(body, route, model, curator, signal);
      else if (part === "doubtful") await doubtful(body, route, model, curator, signal);
      else await this.#page(body, tools, route, model, curator, signal);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(errorMessage(error.message));
    }
  }

  /** @param {api.Model} model @returns {HTMLElement} a button that opens the panel; a drop opens it too */
  #addPanel(model) {
    const { panel, receive } = addImages(model, this.#onSearch);
    const details = /** @type {HTMLDetailsElement} */ (element("details", { class: "add" }, element("summary", { class: "button" }, "Add images"), panel));
    this.#add = (images) => {
      details.open = true;
      receive(images);
      details.scrollIntoView({ block: "nearest" });
    };
    return details;
  }

  /**
   * @param {HTMLElement} body @param {HTMLElement} tools @param {Route} route @param {api.Model} model
   * @param {Curator} curator @param {AbortSignal} signal
   */
  async #page(body, tools, { label, predicted, source, cursor }, model, curator, signal) {
    const filter = element(
      "nav",
      { class: "class-filter", "aria-label": "Classes" },
      filterLink("All", {}, !label && !source),
      filterLink("Added", { source: "added" }, source === "added"),
      ...model.classes.map((name) => filterLink(name, { label: name }, name === label)),
    );
    body.before(filter);
    const request = () => api.gallery({ label, predicted, source, cursor, limit: PAGE_SIZE }, signal);
    const page = await retry(body, request, signal);
    if (signal.aborted) return;
    const list = element("ul", { class: "card-grid small" }, ...page.items.map((item) => galleryCard(item, !label)));
    const { toggle, bar } = selection(list, page.items, model.classes, curator);
    if (page.items.length > 0) tools.append(toggle);
    body.append(
      predicted ? filterNote(label, predicted, model) : "",
      page.items.length > 0 ? list : element("p", { class: "empty" }, source === "added" ? "Nothing has been added yet. Drop images here to begin." : "There are no images here."),
      bar,
      this.#pagination({ view: "gallery", label, predicted, source }, cursor, page.next),
    );
    announce(`${plural(page.items.length, "image")} shown.`);
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

/** @param {string | undefined} name @param {string} text @param {string | undefined} selected */
const tab = (name, text, selected) =>
  element("a", { href: formatRoute({ view: "gallery", show: name }), "aria-current": name === selected ? "page" : null }, text);

/**
 * State which images the filter selects, with a link that removes it.
 * @param {string | undefined} label @param {string} predicted @param {api.Model} model
 */
function filterNote(label, predicted, { gallery, metrics }) {
  const incomplete =
    metrics !== null &&
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

/** @param {string} text @param {Partial<Route>} filter @param {boolean} selected */
function filterLink(text, filter, selected) {
  return element("a", { href: formatRoute({ view: "gallery", ...filter }), "aria-current": selected ? "true" : null }, text);
}

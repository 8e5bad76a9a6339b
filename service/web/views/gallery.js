/** The gallery, a page at a time, by class. What is out of sight is not loaded. */

import { write } from "../lib/router.js";
import * as api from "../lib/api.js";
import { announce } from "../widgets/busy_indicator.js";
import { complaint, element } from "../lib/dom.js";
import { persevere } from "../widgets/retry.js";
import { galleryLink } from "../widgets/tile.js";
import { counted } from "../lib/format.js";

const PAGE = 60;

/** @typedef {import("../lib/router.js").Place} Place */

export class Gallery {
  #model;
  /** Where each page was reached from, as the service only points forward. */
  /** @type {Map<string, string>} */
  #before = new Map();

  /** @param {Promise<api.Model>} model */
  constructor(model) {
    this.#model = model;
  }

  /** @param {HTMLElement} main @param {Place} place @param {AbortSignal} signal */
  async render(main, { label, predicted, cursor }, signal) {
    document.title = "Gallery · kindred";
    const body = element("div", { class: "gallery" });
    const classes = element("nav", { class: "classes", "aria-label": "Classes" });
    main.replaceChildren(
      element("h1", {}, "Gallery"),
      element("p", { class: "lead" }, "The pictures that yours is compared with. The network was not trained on them. Pick one to look from it."),
      classes,
      body,
    );
    try {
      const model = await this.#model;
      if (signal.aborted) return;
      classes.replaceChildren(choice("All", undefined, label), ...model.classes.map((name) => choice(name, name, label)));
      const ask = () => api.gallery({ label, predicted, cursor, limit: PAGE }, signal);
      const { items: found, next } = await persevere(body, ask, signal);
      const items = api.pictured(found, model);
      if (signal.aborted) return;
      body.append(
        predicted ? only(label, predicted, model) : "",
        items.length > 0
          ? element("ul", { class: "kin small" }, ...items.map((item) => galleryLink(item, !label)))
          : element("p", {}, "There are no pictures here."),
        this.#pager({ view: "gallery", label, predicted }, cursor, next),
      );
      announce(`${counted(items.length, "picture")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(complaint(error.message));
    }
  }

  /** @param {Place} place of the first page @param {string | undefined} cursor @param {string | null} next */
  #pager(place, cursor, next) {
    const here = write({ ...place, cursor });
    const first = write(place);
    const pages = element("nav", { class: "pager", "aria-label": "Pages" });
    if (cursor) pages.append(element("a", { class: "button", href: this.#before.get(here) ?? first }, "Previous page"));
    if (next) {
      const forward = write({ ...place, cursor: next });
      this.#before.set(forward, here);
      pages.append(element("a", { class: "button primary", href: forward }, "Next page"));
    }
    return pages;
  }
}

/**
 * Which pictures of a class these are, and a way to all of them.
 * @param {string | undefined} label @param {string} predicted @param {api.Model} model
 */
function only(label, predicted, { gallery, metrics }) {
  const part =
    gallery.size < metrics.test_count &&
    ` The gallery has ${gallery.size.toLocaleString("en")} of the ${counted(metrics.test_count, "test picture")}.`;
  return element(
    "p",
    { class: "only" },
    "Only those that the network takes for ",
    element("strong", {}, predicted),
    ".",
    part,
    " ",
    element("a", { href: write({ view: "gallery", label }) }, label ? `All of ${label}` : "All pictures"),
  );
}

/** @param {string} name @param {string | undefined} label @param {string | undefined} chosen */
function choice(name, label, chosen) {
  const href = write({ view: "gallery", label });
  return element("a", { href, "aria-current": label === chosen ? "true" : null }, name);
}

/** The gallery, a page at a time, by class. What is out of sight is not loaded. */

import { write } from "./address.js";
import * as api from "./api.js";
import { announce, whileBusy } from "./busy.js";
import { complaint, element } from "./dom.js";
import { galleryLink } from "./tile.js";
import { counted } from "./words.js";

const PAGE = 60;

/** @typedef {import("./address.js").Place} Place */

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
  async render(main, { label, cursor }, signal) {
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
      const { items: found, next } = await whileBusy(api.gallery({ label, cursor, limit: PAGE }, signal));
      const items = api.pictured(found, model);
      if (signal.aborted) return;
      body.replaceChildren(
        items.length > 0
          ? element("ul", { class: "kin small" }, ...items.map((item) => galleryLink(item, !label)))
          : element("p", {}, "There are no pictures here."),
        this.#pager(label, cursor, next),
      );
      announce(`${counted(items.length, "picture")} shown.`);
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(complaint(error.message));
    }
  }

  /** @param {string | undefined} label @param {string | undefined} cursor @param {string | null} next */
  #pager(label, cursor, next) {
    const here = write({ view: "gallery", label, cursor });
    const first = write({ view: "gallery", label });
    const pages = element("nav", { class: "pager", "aria-label": "Pages" });
    if (cursor) pages.append(element("a", { class: "button", href: this.#before.get(here) ?? first }, "Previous page"));
    if (next) {
      const forward = write({ view: "gallery", label, cursor: next });
      this.#before.set(forward, here);
      pages.append(element("a", { class: "button primary", href: forward }, "Next page"));
    }
    return pages;
  }
}

/** @param {string} name @param {string | undefined} label @param {string | undefined} chosen */
function choice(name, label, chosen) {
  const href = write({ view: "gallery", label });
  return element("a", { href, "aria-current": label === chosen ? "true" : null }, name);
}

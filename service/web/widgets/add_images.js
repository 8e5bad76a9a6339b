/** Adds images to the gallery: those that were dropped or chosen, with one label or the network's own. */

import * as api from "../lib/api.js";
import { element } from "../lib/dom.js";
import { nameOf, plural } from "../lib/format.js";
import { prepare } from "../lib/prepare.js";
import { formatRoute } from "../lib/router.js";
import { labelField } from "./label_dialog.js";
import { retry } from "./retry.js";
import { toast } from "./toast.js";
import { uploadButtons } from "./upload.js";

/**
 * Create the panel.
 * @param {api.Model} model @param {(images: Blob[]) => void} onSearch searches an image instead
 * @returns {{ panel: HTMLElement, receive: (images: Blob[]) => void }}
 */
export function addImages(model, onSearch) {
  /** @type {{ file: Blob, card: HTMLElement, line: HTMLElement, done: boolean }[]} */
  const chosen = [];
  const list = element("ul", { class: "card-grid small" });
  const notice = element("div");
  const { field, input } = labelField(model.classes, { placeholder: model.classes.length > 0 ? "as the network says" : "none" });
  const button = element("button", { class: "button primary" });
  const instead = element("button", { class: "link-button", type: "button", onclick: () => onSearch([chosen.at(-1).file]) }, "Search with it instead");
  const form = element("form", { class: "add-form", hidden: true, onsubmit: submit }, field, button, instead);
  const panel = element(
    "section",
    { class: "add-panel", "aria-label": "Add images" },
    element("p", {}, "Drop images on this page, or choose some. Each is found by searches as soon as it is added."),
    uploadButtons(receive, "Choose images"),
    list,
    form,
    notice,
  );
  const left = () => chosen.filter(({ done }) => !done);

  function refresh() {
    const count = left().length;
    form.hidden = count === 0;
    button.textContent = `Add ${plural(count, "image")}`;
    instead.hidden = count !== 1;
  }

  /** @param {Blob[]} files */
  function receive(files) {
    for (const file of files) {
      const url = URL.createObjectURL(file);
      const image = element("img", { class: "pixels photo", src: url, alt: "", onerror: () => image.replaceWith(element("span", { class: "pixels" })) });
      const line = element("p", { class: "card-line" }, "name" in file ? String(file.name) : "photo");
      const card = element("li", { class: "card" }, image, line);
      chosen.push({ file, card, line, done: false });
      list.append(card);
    }
    refresh();
    input.focus();
  }

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    button.setAttribute("disabled", "");
    const added = [];
    for (const one of left()) {
      button.textContent = `Adding ${added.length + 1} of ${added.length + left().length}`;
      try {
        const { blob } = await prepare(one.file, model.input);
        const item = await retry(notice, () => api.add(blob, input.value.trim() || undefined));
        added.push(item);
        const href = formatRoute({ view: "predict", image: item.id });
        one.line.replaceChildren(element("a", { href, class: "card-label" }, nameOf(item)), element("span", { class: "badge" }, "added"));
      } catch (error) {
        one.line.replaceChildren(element("span", { class: "card-error", role: "alert" }, error.message));
      }
      one.done = true;
    }
    button.removeAttribute("disabled");
    refresh();
    if (added.length === 0) return;
    const all = element("p", {}, element("a", { href: formatRoute({ view: "gallery", source: "added" }) }, "Show all that were added"));
    notice.replaceChildren(all);
    if (!(await toast(`${plural(added.length, "image")} added.`))) return;
    for (const { id } of added) await retry(notice, () => api.remove(id));
    list.replaceChildren();
    chosen.length = 0;
  }

  return { panel, receive };
}

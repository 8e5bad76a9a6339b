/** Selects cards of the gallery, to label, delete or search by several at once. */

import { element } from "../lib/dom.js";
import { fullNameOf, nameOf, plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { askForLabel } from "./label_dialog.js";

/** @typedef {import("../lib/api.js").Item} Item */

/**
 * Make the cards of a list selectable.
 * @param {HTMLElement} list @param {Item[]} items in the order of its cards @param {string[]} classes
 * @param {import("./curator.js").Curator} curator
 * @returns {{ toggle: HTMLElement, bar: HTMLElement }} the button that begins, and the bar of actions
 */
export function selection(list, items, classes, curator) {
  /** @type {Map<string, { item: Item, card: HTMLElement }>} */
  const byId = new Map(items.map((item, index) => [item.id, { item, card: /** @type {HTMLElement} */ (list.children[index]) }]));
  /** @type {Set<string>} */
  const selected = new Set();
  const count = element("strong", { role: "status" });
  const similar = element("a", { class: "button small", href: "#" }, "Find similar");
  const action = (/** @type {string} */ text, /** @type {() => void} */ onclick) => element("button", { class: "button small", type: "button", onclick }, text);
  const actions = element("div", { class: "selection-actions" }, similar, action("Label…", relabel), action("Delete", remove));
  const bar = element("div", { class: "selection-bar", hidden: true, role: "group", "aria-label": "Selection" }, count, actions, action("Done", () => setActive(false)));
  const toggle = element("button", { class: "button", type: "button", "aria-pressed": "false", onclick: () => setActive(bar.hidden) }, "Select");
  const picked = () => [...selected].map((id) => byId.get(id));

  for (const { item, card } of byId.values()) {
    const check = element("input", {
      type: "checkbox",
      class: "select-check",
      "aria-label": `Select ${fullNameOf(item)}`,
      onchange: (/** @type {Event} */ { target }) => select(item.id, target.checked),
    });
    card.append(check);
    card.querySelector(".card-action").addEventListener("click", (event) => {
      if (bar.hidden) return;
      event.preventDefault();
      check.click();
    });
  }

  /** @param {boolean} active */
  function setActive(active) {
    bar.hidden = !active;
    list.classList.toggle("selecting", active);
    toggle.setAttribute("aria-pressed", String(active));
    if (!active) clear();
    refresh();
  }

  /** @param {string} id @param {boolean} on */
  function select(id, on) {
    if (on) selected.add(id);
    else selected.delete(id);
    byId.get(id).card.classList.toggle("selected", on);
    refresh();
  }

  function clear() {
    for (const { card } of picked()) {
      card.classList.remove("selected");
      card.querySelector(".select-check").checked = false;
    }
    selected.clear();
    refresh();
  }

  function refresh() {
    const [first, ...more] = selected;
    count.textContent = selected.size > 0 ? `${plural(selected.size, "image")} selected` : "Pick images";
    actions.hidden = selected.size === 0;
    if (first) similar.setAttribute("href", formatRoute({ view: "predict", image: first, more }));
  }

  async function relabel() {
    const chosen = picked();
    const label = await askForLabel(`Label ${plural(chosen.length, "image")}`, classes);
    if (label === null) return;
    clear();
    await curator.relabel(chosen.map(({ item }) => ({ ...item })), label, (shown) => {
      for (const { item, card } of chosen) {
        const text = shown ?? nameOf(item);
        const line = card.querySelector(".card-label");
        if (line) line.textContent = text;
        else card.append(element("p", { class: "card-line" }, element("span", { class: "card-label" }, text)));
      }
    });
  }

  async function remove() {
    const chosen = picked();
    clear();
    await curator.remove(chosen.map(({ item }) => item), (hidden) => chosen.forEach(({ card }) => (card.hidden = hidden)));
  }

  return { toggle, bar };
}

/** Images whose label is in doubt, the most doubtful first, each with what else it may be. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { CONFIRMED } from "./curator.js";
import { askForLabel } from "./label_dialog.js";
import { retry } from "./retry.js";
import { drawnNote, tile } from "./tile.js";

const SHOWN = 48;

/**
 * Fill `body`, page by page, until the whole gallery has been examined.
 * @param {HTMLElement} body @param {import("../lib/router.js").Route} route @param {api.Model} model
 * @param {import("./curator.js").Curator} curator @param {AbortSignal} signal
 */
export async function doubtful(body, { label }, model, curator, signal) {
  const progress = element("p", { class: "lead", role: "status" }, "Asking the network and the neighbours…");
  const notice = element("div");
  const list = element("ul", { class: "doubts" });
  body.replaceChildren(progress, notice, list);
  /** @type {api.DoubtfulItem[]} */
  const items = [];
  for (let cursor = ""; cursor !== null; ) {
    try {
      const options = { label, cursor, [`attribute.${CONFIRMED}!`]: "true" };
      const page = await retry(notice, () => api.doubtful(options, signal), signal);
      if (signal.aborted) return;
      items.push(...page.items);
      cursor = page.next;
    } catch (error) {
      if (!signal.aborted) notice.replaceChildren(errorMessage(error.message));
      return;
    }
  }
  items.sort((a, b) => b.doubt - a.doubt);
  progress.textContent = items.length > 0 ? `${plural(items.length, "label")} in doubt, the most doubtful first. A label is not wrong because of that.` : "No label is in doubt.";
  const cards = items.map((item) => doubtCard(item, model.classes, curator));
  list.append(...cards.splice(0, SHOWN));
  const more = element(
    "button",
    {
      class: "button",
      type: "button",
      onclick: () => {
        const next = cards.splice(0, SHOWN);
        list.append(...next);
        next[0].querySelector("a").focus();
        if (cards.length === 0) more.remove();
      },
    },
    "Show more",
  );
  if (cards.length > 0) body.append(more);
}

/** @param {api.DoubtfulItem} item @param {string[]} classes @param {import("./curator.js").Curator} curator */
function doubtCard(item, classes, curator) {
  const { id, label, predicted, nearest } = item;
  const votes = Object.entries(nearest).map(([name, count]) => `${count} ${name}`);
  const hide = (/** @type {boolean} */ hidden) => (card.hidden = hidden);
  const relabel = (/** @type {string} */ name) => curator.relabel([item], name, (shown) => hide(shown !== null));
  const askAndRelabel = async () => {
    const name = await askForLabel(`Label ${id}`, classes);
    if (name !== null) relabel(name);
  };
  const button = (/** @type {string} */ text, /** @type {() => void} */ onclick, kind = "") =>
    element("button", { class: `button small ${kind}`, type: "button", "aria-label": `${text}: ${id}`, onclick }, text);
  const card = element(
    "li",
    { class: "doubt", "data-id": id },
    element("a", { class: "doubt-image", href: formatRoute({ view: "predict", image: id }), "aria-label": `Find similar to ${label}, ${id}` }, tile(item)),
    element(
      "div",
      {},
      element("h3", {}, `Labelled ${label}`),
      element("p", {}, "The network says ", element("strong", {}, predicted), "."),
      element("p", { class: "votes" }, `Nearest ten: ${votes.join(", ")}.`),
      drawnNote(item),
      element("div", { class: "doubt-actions" }, button(`It is ${predicted}`, () => relabel(predicted), "primary"), button(`Keep ${label}`, () => curator.confirm(item, hide)), button("Other…", askAndRelabel)),
    ),
  );
  return card;
}

/** Near-duplicates of the gallery side by side, the most alike first. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { decimal, fullNameOf, nameOf, plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { retry } from "./retry.js";
import { drawnNote, tile } from "./tile.js";

const THRESHOLD = 0.9;
const SHOWN = 60;

/**
 * Fill `body`, page by page, until the whole gallery has been compared.
 * @param {HTMLElement} body @param {import("../lib/router.js").Route} route @param {api.Model} model
 * @param {import("./curator.js").Curator} curator @param {AbortSignal} signal
 */
export async function duplicates(body, route, model, curator, signal) {
  const layers = api.searchable(model);
  const layer = layers.includes(route.layer) ? route.layer : layers[0];
  const threshold = Number(route.threshold) || THRESHOLD;
  const change = (/** @type {Record<string, string>} */ changed) => (location.hash = formatRoute({ ...route, layer, threshold: String(threshold), ...changed }));
  const progress = element("p", { class: "lead", role: "status" });
  const notice = element("div");
  const list = element("ul", { class: "pairs" });
  body.replaceChildren(controls(layers, layer, threshold, change), progress, notice, list);
  /** @type {api.Pair[]} */
  const pairs = [];
  let compared = 0;
  for (let cursor = ""; cursor !== null; ) {
    progress.textContent = `Compared ${compared.toLocaleString("en")} of ${plural(model.gallery.size, "image")}…`;
    try {
      const page = await retry(notice, () => api.duplicates({ layer, threshold, cursor }, signal), signal);
      if (signal.aborted) return;
      pairs.push(...page.pairs);
      compared += page.looked_at;
      cursor = page.next;
    } catch (error) {
      if (!signal.aborted) notice.replaceChildren(errorMessage(error.message));
      return;
    }
    pairs.sort((a, b) => b.score - a.score);
    list.replaceChildren(...pairs.slice(0, SHOWN).map((pair) => pairCard(pair, list, curator)));
  }
  const found = pairs.length > SHOWN ? `${plural(pairs.length, "pair")}; these are the ${SHOWN} most alike.` : `${plural(pairs.length, "pair")}.`;
  progress.textContent = pairs.length > 0 ? found : "No two images are that alike. A lower likeness finds more.";
}

/** @param {string[]} layers @param {string} layer @param {number} threshold @param {(changed: Record<string, string>) => void} change */
function controls(layers, layer, threshold, change) {
  const shown = element("output", {}, decimal(threshold, 2));
  const slider = element("input", {
    type: "range", min: 0.5, max: 1, step: 0.01, value: threshold,
    oninput: () => (shown.textContent = decimal(Number(slider.value), 2)),
    onchange: () => change({ threshold: slider.value }),
  });
  const select = element("select", { onchange: () => change({ layer: select.value }) }, ...layers.map((name) => element("option", { selected: name === layer }, name)));
  return element("div", { class: "controls" }, element("label", { class: "field" }, "Layer", select), element("label", { class: "field wide" }, element("span", {}, "Least likeness: ", shown), slider));
}

/** @param {api.Pair} pair @param {HTMLElement} list @param {import("./curator.js").Curator} curator */
function pairCard({ first, second, score }, list, curator) {
  const side = (/** @type {api.Item} */ item) => {
    const hide = (/** @type {boolean} */ hidden) => list.querySelectorAll(`[data-pair~="${CSS.escape(item.id)}"]`).forEach((card) => (card.hidden = hidden));
    return element(
      "div",
      { class: "card" },
      element("a", { class: "card-action", href: formatRoute({ view: "predict", image: item.id }), "aria-label": `Find similar to ${fullNameOf(item)}` }, tile(item)),
      element("p", { class: "card-line" }, element("span", { class: "card-label" }, nameOf(item)), item.source === "added" && element("span", { class: "badge" }, "added")),
      drawnNote(item),
      element("p", { class: "card-id" }, item.id),
      element("button", { class: "button small", type: "button", "aria-label": `Delete ${item.id}`, onclick: () => curator.remove([item], hide) }, "Delete"),
    );
  };
  return element("li", { class: "pair-card", "data-pair": `${first.id} ${second.id}` }, side(first), element("p", { class: "pair-score", title: "Cosine" }, decimal(score)), side(second));
}

/** Lists beside the map: the nearest of the query, and the images that were chosen. */

import { element } from "../lib/dom.js";
import { decimal, nameOf, plural } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { selection } from "../widgets/selection.js";
import { galleryCard, tile } from "../widgets/tile.js";

const SHOWN = 120;
const LABELS = 4;

/**
 * @typedef {object} Source the query
 * @property {Blob} blob
 * @property {HTMLElement | null} picture
 * @property {string | null} own its id, if it is in the gallery
 * @property {string} href its search
 */

/**
 * List the nearest of the query at a layer.
 * @param {{ id: string, label: string | null, score: number }[]} nearest @param {string} layer @param {Source} source
 * @param {import("./layouts.js").Layouts} layouts @param {import("../lib/api.js").Model} model @param {import("./stage.js").Stage} stage
 * @returns {HTMLElement}
 */
export function nearestList(nearest, layer, source, layouts, model, stage) {
  stage.setNearest(nearest.map(({ id, score }) => ({ index: layouts.ids.indexOf(id), score })).filter(({ index }) => index >= 0));
  const cards = nearest.map((one) => {
    const { id, label, score } = one;
    const index = layouts.ids.indexOf(id);
    const item = index < 0 ? { id, label, image: null } : layouts.item(index, model);
    return element(
      "li",
      { class: "nearest", onpointerenter: () => stage.highlight(index), onpointerleave: () => stage.highlight(-1) },
      element("a", { href: formatRoute({ view: "predict", image: id }), "aria-label": `${label === null ? "" : `${label}, `}score ${decimal(score)}, ${id}`, onfocus: () => stage.highlight(index), onblur: () => stage.highlight(-1) }, tile(item)),
      element("span", { class: "nearest-label" }, nameOf(one)),
      element("span", { class: "nearest-score" }, decimal(score)),
    );
  });
  return element(
    "section",
    { "aria-label": "The nearest" },
    element("div", { class: "map-query-head" }, source.picture, element("div", {}, element("h2", {}, `Nearest at ${layer}`), element("a", { href: source.href }, "Search with it"))),
    element("ol", { class: "nearest-list" }, ...cards),
  );
}

/**
 * List the images that were chosen, by label, to search, label or delete them.
 * @param {import("../lib/api.js").Item[]} items @param {import("../lib/api.js").Model} model
 * @param {import("../widgets/curator.js").Curator} curator @param {() => void} onClose
 * @returns {HTMLElement}
 */
export function chosenList(items, model, curator, onClose) {
  const counts = new Map();
  for (const { label } of items) {
    const name = label ?? "without a label";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const rest = sorted.length - LABELS;
  const byLabel = sorted.slice(0, LABELS).map(([label, count]) => `${count.toLocaleString("en")} ${label}`).join(", ") + (rest > 0 ? `, ${rest} other labels` : "");
  const shown = items.slice(0, SHOWN);
  const list = element("ul", { class: "card-grid small" }, ...shown.map((item) => galleryCard(item)));
  const { toggle, bar } = selection(list, shown, model.classes, curator);
  return element(
    "section",
    { class: "map-chosen", "aria-label": "Chosen images" },
    element("h2", {}, `${plural(items.length, "image")} chosen`),
    element("p", { class: "lead" }, items.length > 0 ? `${byLabel}.${items.length > SHOWN ? ` The first ${SHOWN}:` : ""}` : "Draw around some points."),
    element("div", { class: "upload-buttons" }, items.length > 0 && toggle, element("button", { class: "button", type: "button", onclick: onClose }, "Close")),
    list,
    bar,
  );
}

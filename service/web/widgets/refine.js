/** More like this, less like that: the examples that a search starts from, and links that change them. */

import { element } from "../lib/dom.js";
import { fullNameOf } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { tile } from "./tile.js";

/** @typedef {import("../lib/router.js").Route} Route */

/** Most examples that a search takes. */
const MOST = 100;

/**
 * Return the route with one example more.
 * @param {Route} route @param {"more" | "less"} kind @param {string} id
 * @returns {Route}
 */
function withExample(route, kind, id) {
  const other = kind === "more" ? "less" : "more";
  const others = (route[other] ?? []).filter((one) => one !== id);
  const own = [...(route[kind] ?? []).filter((one) => one !== id), id].slice(-MOST);
  return { ...route, explain: undefined, [kind]: own, [other]: others };
}

/** @param {Route} route @param {"more" | "less"} kind @param {string} id @returns {Route} */
const withoutExample = (route, kind, id) => ({ ...route, explain: undefined, [kind]: route[kind].filter((one) => one !== id) });

/**
 * Create the two links below a neighbour.
 * @param {Route} route @param {{ id: string, label: string | null }} neighbour
 * @returns {HTMLElement}
 */
export function refineLinks(route, neighbour) {
  const link = (/** @type {"more" | "less"} */ kind, /** @type {string} */ sign, /** @type {string} */ name) =>
    element("a", { class: "refine-link", href: formatRoute(withExample(route, kind, neighbour.id)), title: name, "aria-label": `${name}: ${fullNameOf(neighbour)}` }, sign);
  return element("p", { class: "refine-links" }, link("more", "+ more", "More like this"), link("less", "− less", "Less like this"));
}

/**
 * Show the examples of a search. Picking one removes it.
 * @param {Route} route @param {Record<string, import("../lib/api.js").Item>} items by id
 * @returns {HTMLElement | null}
 */
export function refineBar(route, items) {
  const group = (/** @type {"more" | "less"} */ kind, /** @type {string} */ text) =>
    route[kind]?.length > 0 &&
    element(
      "div",
      { class: "refine-group" },
      element("span", {}, text),
      ...route[kind].map((id) =>
        element(
          "a",
          { class: "refine-example", href: formatRoute(withoutExample(route, kind, id)), title: "Remove", "aria-label": `Remove: ${kind} like ${fullNameOf(items[id])}` },
          tile(items[id]),
        ),
      ),
    );
  const groups = [group("more", "More like"), group("less", "less like")].filter(Boolean);
  if (groups.length === 0) return null;
  const all = formatRoute({ ...route, explain: undefined, more: [], less: [] });
  return element("div", { class: "refine", role: "group", "aria-label": "Examples" }, ...groups, element("a", { href: all }, "Start over"));
}

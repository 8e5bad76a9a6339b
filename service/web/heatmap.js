/** The 8 x 8 terms of a cosine at the second block, laid over both pictures. */

import { element } from "./dom.js";
import { rove } from "./rove.js";
import { colour } from "./scale.js";
import { figure, percent } from "./words.js";

/** @typedef {{ name: string, draw: () => HTMLElement }} Picture */

/**
 * @param {number[][]} heat rows of terms
 * @param {number} score what they add up to
 * @param {Picture[]} pictures the query, then its neighbour
 * @returns {HTMLElement}
 */
export function heatmap(heat, score, pictures) {
  const cells = heat.flat();
  const most = Math.max(...cells, Number.MIN_VALUE);
  const least = Math.min(...cells);
  const readout = element("p", { class: "readout" });
  const maps = pictures.map(({ draw }, index) => map(heat, most, draw(), index === 0));

  /** @param {number} row @param {number} column */
  const point = (row, column) => {
    for (const { at } of maps) {
      at.flat().forEach((cell) => cell.classList.remove("pointed"));
      at[row][column].classList.add("pointed");
    }
    readout.replaceChildren(
      element("strong", {}, figure(heat[row][column], 4)),
      `${described(heat[row][column], score)}, at row ${row + 1}, column ${column + 1}`,
    );
  };
  for (const { at } of maps) {
    at.forEach((row, y) => row.forEach((cell, x) => cell.addEventListener("pointerenter", () => point(y, x))));
  }
  walkable(maps[0].at, heat, score, point);
  rove(maps[0].shown, () => maps[0].at);
  const [top, left] = strongest(heat);
  point(top, left);

  const figures = pictures.map(({ name }, index) =>
    element("figure", {}, maps[index].shown, element("figcaption", {}, name)),
  );
  const whole = element(
    "div",
    { class: "why-body", style: { "--strength": 0.7 } },
    element("div", { class: "pair" }, ...figures),
    element(
      "div",
      { class: "why-words" },
      readout,
      legend(most, least),
      strength((value) => whole.style.setProperty("--strength", String(value))),
      element("p", {}, addsUp(cells, score)),
      element("p", {}, concentration(cells)),
    ),
  );
  return whole;
}

/**
 * @param {number[][]} heat @param {number} most @param {HTMLElement} picture
 * @param {boolean} first the one that the keyboard walks and readers hear; the other follows it
 */
function map(heat, most, picture, first) {
  const at = heat.map((row) =>
    row.map((term) => element("span", { class: term < 0 ? "cell against" : "cell", style: { "--term": colour(term / most) } })),
  );
  const rows = at.map((row) => element("div", { class: "cells", role: first && "row" }, ...row));
  const kind = first
    ? { role: "grid", "aria-label": "Share of each of the 8 by 8 places in the score" }
    : { "aria-hidden": "true" };
  const shown = element("div", { class: "mapped" }, picture, element("div", { class: "map", ...kind }, ...rows));
  return { at, shown };
}

/** Every cell can be focused and says its term; the strongest is the one in the tab order. */
function walkable(at, heat, score, point) {
  const [top, left] = strongest(heat);
  at.forEach((row, y) =>
    row.forEach((cell, x) => {
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label", `row ${y + 1}, column ${x + 1}: ${figure(heat[y][x], 4)}, ${described(heat[y][x], score)}`);
      cell.tabIndex = y === top && x === left ? 0 : -1;
      cell.addEventListener("focus", () => point(y, x));
    }),
  );
}

/** @param {number[][]} heat @returns {[number, number]} */
function strongest(heat) {
  const cells = heat.flat();
  const place = cells.indexOf(Math.max(...cells));
  return [Math.floor(place / heat[0].length), place % heat[0].length];
}

/** @param {number} term @param {number} score @returns {string} */
function described(term, score) {
  if (term < 0) return "speaks against the match";
  return score > 0 ? `${percent(term / score)} of the score` : "speaks for the match";
}

/** @param {number} most @param {number} least @returns {HTMLElement} */
function legend(most, least) {
  const steps = Array.from({ length: 32 }, (_, step) =>
    element("span", { style: { "--term": colour(step / 31) } }),
  );
  return element(
    "div",
    { class: "legend" },
    element("span", { class: "ramp", "aria-hidden": "true" }, ...steps),
    element("span", { class: "ramp-ends" }, element("span", {}, "0"), element("span", {}, figure(most, 4))),
    least < 0 &&
      element(
        "span",
        { class: "ramp-note" },
        element("span", { class: "cell against swatch", "aria-hidden": "true" }),
        `speaks against, down to ${figure(least, 4)}`,
      ),
  );
}

/** @param {(value: number) => void} set @returns {HTMLElement} */
function strength(set) {
  return element(
    "label",
    { class: "strength" },
    "Map over picture",
    element("input", { type: "range", min: 0, max: 100, value: 70, oninput: (event) => set(event.target.value / 100) }),
  );
}

/** @param {number[]} cells @param {number} score @returns {string} */
function addsUp(cells, score) {
  const sum = cells.reduce((total, term) => total + term, 0);
  return `The ${cells.length} cells add up to ${figure(sum)}; the score is ${figure(score)}.`;
}

/** @param {number[]} cells @returns {string} how few cells hold half of what speaks for the match */
function concentration(cells) {
  const positive = cells.filter((term) => term > 0).sort((a, b) => b - a);
  const half = positive.reduce((total, term) => total + term, 0) / 2;
  let reached = 0;
  const needed = positive.findIndex((term) => (reached += term) >= half) + 1;
  return `Half of what speaks for the match lies in ${needed} of them.`;
}

/** The 8 x 8 terms of a cosine at the second block, laid over both pictures. */

import { element } from "../lib/dom.js";
import { rove } from "./roving_tabindex.js";
import { colour } from "../lib/colormap.js";
import { figure, finePercent } from "../lib/format.js";

/** How much of the map lies over the pictures, from 0 to 1, until the visitor says. */
const STRENGTH = 0.6;

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
  const maps = pictures.map(({ draw }, index) => map(heat, most, draw, index === 0));
  const pieces = element(
    "div",
    { class: "pieces", "aria-hidden": "true" },
    ...pictures.map(({ draw }) => element("span", { class: "piece" }, draw())),
  );

  /** @param {number} row @param {number} column */
  const point = (row, column) => {
    for (const { at } of maps) {
      at.flat().forEach((cell) => cell.classList.remove("pointed"));
      at[row][column].classList.add("pointed");
    }
    const [share, said] = described(heat[row][column], score);
    const place = `at row ${row + 1}, column ${column + 1}`;
    readout.replaceChildren(element("strong", {}, share), ` ${said}: ${figure(heat[row][column], 4)}, ${place}`);
    pieces.style.setProperty("--row", String(row));
    pieces.style.setProperty("--column", String(column));
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
    { class: "why-body", style: { "--strength": STRENGTH } },
    element(
      "div",
      {},
      element("div", { class: "pair" }, ...figures),
      element("p", { class: "why-sum" }, addsUp(cells, score)),
      element("p", { class: "why-sum" }, concentration(cells)),
    ),
    element(
      "div",
      { class: "why-words" },
      element("div", {}, pieces, readout),
      legend(most, least, score),
      strength((value) => whole.style.setProperty("--strength", String(value))),
    ),
  );
  return whole;
}

/**
 * @param {number[][]} heat @param {number} most @param {() => HTMLElement} draw the picture
 * @param {boolean} first the one that the keyboard walks and readers hear; the other follows it
 */
function map(heat, most, draw, first) {
  const at = heat.map((row) =>
    row.map((term) => element("span", { class: term < 0 ? "cell against" : "cell", style: { "--term": colour(term / most) } })),
  );
  const rows = at.map((row) => element("div", { class: "cells", role: first && "row" }, ...row));
  const kind = first
    ? { role: "grid", "aria-label": "Share of each of the 8 by 8 places in the score" }
    : { "aria-hidden": "true" };
  const relief = draw();
  relief.classList.add("relief");
  relief.setAttribute("aria-hidden", "true");
  const shown = element("div", { class: "mapped" }, draw(), element("div", { class: "map", ...kind }, ...rows), relief);
  return { at, shown };
}

/** Every cell can be focused and says its term; the strongest is the one in the tab order. */
function walkable(at, heat, score, point) {
  const [top, left] = strongest(heat);
  at.forEach((row, y) =>
    row.forEach((cell, x) => {
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label", `row ${y + 1}, column ${x + 1}: ${figure(heat[y][x], 4)}, ${described(heat[y][x], score).join(" ")}`);
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

/** @param {number} term @param {number} score @returns {[string, string]} how much, and of what */
function described(term, score) {
  if (score <= 0) return [figure(term, 4), term < 0 ? "speaks against the match" : "speaks for the match"];
  return [finePercent(term / score), term < 0 ? "of the score, against the match" : "of the score"];
}

/** @param {number} most @param {number} least @param {number} score @returns {HTMLElement} */
function legend(most, least, score) {
  const share = (/** @type {number} */ term) => described(term, score)[0];
  const steps = Array.from({ length: 32 }, (_, step) =>
    element("span", { style: { "--term": colour(step / 31) } }),
  );
  return element(
    "div",
    { class: "legend" },
    element("span", { class: "ramp", "aria-hidden": "true" }, ...steps),
    element("span", { class: "ramp-ends" }, element("span", {}, "0"), element("span", {}, `${share(most)}${score > 0 ? " of the score" : ""}`)),
    least < 0 &&
      element(
        "span",
        { class: "ramp-note" },
        element("span", { class: "cell against swatch", "aria-hidden": "true" }),
        `speaks against, down to ${share(least)}`,
      ),
  );
}

/** @param {(value: number) => void} set @returns {HTMLElement} */
function strength(set) {
  return element(
    "label",
    { class: "strength" },
    element("span", { class: "strength-ends" }, element("span", {}, "Picture"), element("span", {}, "Map")),
    element("input", { type: "range", min: 0, max: 100, value: 100 * STRENGTH, oninput: (event) => set(event.target.value / 100) }),
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

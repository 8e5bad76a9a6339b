/** A heatmap over both images of the terms, one a place, that add up to a score. */

import { cividis } from "../lib/colormap.js";
import { element } from "../lib/dom.js";
import { decimal, precisePercent } from "../lib/format.js";
import { rovingTabindex } from "./roving_tabindex.js";

/** Initial opacity of the heatmap over the images, from 0 to 1. */
const OPACITY = 0.6;

/** @typedef {{ name: string, draw: () => HTMLElement }} NamedImage */

/**
 * Show the terms over both images, with a readout of the selected cell.
 * @param {number[][]} terms rows of terms
 * @param {number} score their sum
 * @param {NamedImage[]} images the query, then its neighbour
 * @param {number} covered how many of them the terms belong to: both, or the query alone
 * @returns {HTMLElement}
 */
export function heatmap(terms, score, images, covered) {
  const flat = terms.flat();
  const largest = Math.max(...flat, Number.MIN_VALUE);
  const smallest = Math.min(...flat);
  const readout = element("p", { class: "readout" });
  const overlays = images.slice(0, covered).map(({ draw }, index) => overlay(terms, largest, draw, index === 0));
  const patches = element(
    "div",
    { class: "patches", "aria-hidden": "true" },
    ...images.slice(0, covered).map(({ draw }) => element("span", { class: "patch" }, draw())),
  );

  /** @param {number} row @param {number} column */
  const highlight = (row, column) => {
    for (const { cells } of overlays) {
      cells.flat().forEach((cell) => cell.classList.remove("highlighted"));
      cells[row][column].classList.add("highlighted");
    }
    const [share, unit] = describe(terms[row][column], score);
    const position = `at row ${row + 1}, column ${column + 1}`;
    readout.replaceChildren(element("strong", {}, share), ` ${unit}: ${decimal(terms[row][column], 4)}, ${position}`);
    patches.style.setProperty("--row", String(row));
    patches.style.setProperty("--column", String(column));
  };
  for (const { cells } of overlays) {
    cells.forEach((row, y) => row.forEach((cell, x) => cell.addEventListener("pointerenter", () => highlight(y, x))));
  }
  const [top, left] = strongest(terms);
  makeFocusable(overlays[0].cells, terms, score, highlight);
  overlays[0].cells[top][left].tabIndex = 0;
  rovingTabindex(overlays[0].container, () => overlays[0].cells);
  highlight(top, left);

  const figures = images.map(({ name, draw }, index) =>
    element("figure", {}, overlays[index]?.container ?? element("div", { class: "overlay" }, draw()), element("figcaption", {}, name)),
  );
  const body = element(
    "div",
    { class: "explanation-body", style: { "--overlay-opacity": OPACITY, "--heat-rows": terms.length, "--heat-columns": terms[0].length } },
    element(
      "div",
      {},
      element("div", { class: "pair" }, ...figures),
      element("p", { class: "explanation-note" }, sumNote(flat, score)),
      element("p", { class: "explanation-note" }, concentrationNote(flat)),
    ),
    element(
      "div",
      { class: "explanation-details" },
      element("div", {}, patches, readout),
      legend(largest, smallest, score),
      opacitySlider((value) => body.style.setProperty("--overlay-opacity", String(value))),
    ),
  );
  return body;
}

/**
 * Lay the cells over one image.
 * @param {number[][]} terms @param {number} largest @param {() => HTMLElement} draw the image
 * @param {boolean} interactive whether keyboard and screen readers reach its cells; the other
 *   overlay only mirrors them
 */
function overlay(terms, largest, draw, interactive) {
  const cells = terms.map((row) =>
    row.map((term) => element("span", { class: term < 0 ? "cell negative" : "cell", style: { "--cell-color": cividis(term / largest) } })),
  );
  const rows = cells.map((row) => element("div", { class: "heatmap-row", role: interactive && "row" }, ...row));
  const attributes = interactive
    ? { role: "grid", "aria-label": `Share of each of the ${terms.length} by ${terms[0].length} places in the score` }
    : { "aria-hidden": "true" };
  const luminance = draw();
  luminance.classList.add("luminance");
  luminance.setAttribute("aria-hidden", "true");
  const container = element("div", { class: "overlay" }, draw(), element("div", { class: "heatmap", ...attributes }, ...rows), luminance);
  return { cells, container };
}

/**
 * Make the cells focusable and name each by its term.
 * @param {HTMLElement[][]} cells @param {number[][]} terms @param {number} score
 * @param {(row: number, column: number) => void} onFocus
 */
function makeFocusable(cells, terms, score, onFocus) {
  cells.forEach((row, y) =>
    row.forEach((cell, x) => {
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label", `row ${y + 1}, column ${x + 1}: ${decimal(terms[y][x], 4)}, ${describe(terms[y][x], score).join(" ")}`);
      cell.tabIndex = -1;
      cell.addEventListener("focus", () => onFocus(y, x));
    }),
  );
}

/** @param {number[][]} terms @returns {[number, number]} row and column of the largest term */
function strongest(terms) {
  const flat = terms.flat();
  const index = flat.indexOf(Math.max(...flat));
  return [Math.floor(index / terms[0].length), index % terms[0].length];
}

/** @param {number} term @param {number} score @returns {[string, string]} amount and unit */
function describe(term, score) {
  if (score <= 0) return [decimal(term, 4), term < 0 ? "speaks against the match" : "speaks for the match"];
  return [precisePercent(term / score), term < 0 ? "of the score, against the match" : "of the score"];
}

/** @param {number} largest @param {number} smallest @param {number} score @returns {HTMLElement} */
function legend(largest, smallest, score) {
  const share = (/** @type {number} */ term) => describe(term, score)[0];
  const steps = Array.from({ length: 32 }, (_, step) =>
    element("span", { style: { "--cell-color": cividis(step / 31) } }),
  );
  return element(
    "div",
    { class: "legend" },
    element("span", { class: "colorbar", "aria-hidden": "true" }, ...steps),
    element("span", { class: "colorbar-ends" }, element("span", {}, "0"), element("span", {}, `${share(largest)}${score > 0 ? " of the score" : ""}`)),
    smallest < 0 &&
      element(
        "span",
        { class: "colorbar-note" },
        element("span", { class: "cell negative swatch", "aria-hidden": "true" }),
        `speaks against, down to ${share(smallest)}`,
      ),
  );
}

/** @param {(value: number) => void} onChange @returns {HTMLElement} */
function opacitySlider(onChange) {
  return element(
    "label",
    { class: "opacity-slider" },
    element("span", { class: "opacity-slider-ends" }, element("span", {}, "Image"), element("span", {}, "Map")),
    element("input", { type: "range", min: 0, max: 100, value: 100 * OPACITY, oninput: (event) => onChange(event.target.value / 100) }),
  );
}

/** @param {number[]} terms @param {number} score @returns {string} */
function sumNote(terms, score) {
  const sum = terms.reduce((total, term) => total + term, 0);
  return `The ${terms.length} cells add up to ${decimal(sum)}; the score is ${decimal(score)}.`;
}

/** @param {number[]} terms @returns {string} how few cells hold half of the positive terms */
function concentrationNote(terms) {
  const positive = terms.filter((term) => term > 0).sort((a, b) => b - a);
  const half = positive.reduce((total, term) => total + term, 0) / 2;
  let sum = 0;
  const needed = positive.findIndex((term) => (sum += term) >= half) + 1;
  return `Half of what speaks for the match lies in ${needed} of them.`;
}

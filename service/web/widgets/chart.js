/** A chart of learning curves with a readout of the point under the pointer or the focus. */

import { element } from "../lib/dom.js";
import { createPicture, saveButtons, savePng, saveSvg } from "../lib/save.js";
import { rovingTabindex } from "./roving_tabindex.js";

/** Largest distance between pointer and point, in units of the drawing. */
const HIT_RADIUS = 20;
const SVG = "http://www.w3.org/2000/svg";

/**
 * Make a drawing interactive.
 * @param {SVGSVGElement} drawing with a `g[data-experiment]` for each curve, and a `use` with a
 *   `title` for each of its points
 * @param {string} name of the quantity
 */
export function chart(drawing, name) {
  const curves = /** @type {SVGGElement[]} */ ([...drawing.querySelectorAll("[data-experiment]")]);
  const hint = "Point at a curve, or go along it with the arrow keys, to read its values.";
  const readout = element("p", { class: "readout" }, hint);
  const file = `kindred-${name.toLowerCase()}`;
  const save = saveButtons({ SVG: () => saveSvg(serialize(drawing), file), PNG: () => drawPng(drawing, file) }, `the chart of ${name}`);
  const figure = element("figure", { class: "chart" }, element("figcaption", {}, name), drawing, readout, save);
  const points = () =>
    curves
      .filter((curve) => !curve.hasAttribute("hidden"))
      .map((curve) => /** @type {SVGUseElement[]} */ ([...curve.querySelectorAll("use")]))
      .filter((row) => row.length > 0);

  /** @param {SVGUseElement} [point] */
  const highlight = (point) => {
    drawing.querySelector(".highlighted")?.classList.remove("highlighted");
    point?.classList.add("highlighted");
    readout.textContent = point ? point.textContent : hint;
  };
  const highlightNearest = (/** @type {PointerEvent} */ { clientX, clientY }) => {
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const distance = (/** @type {SVGUseElement} */ point) => Math.hypot(point.x.baseVal.value - x, point.y.baseVal.value - y);
    const nearest = points().flat().reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null);
    if (nearest && distance(nearest) <= HIT_RADIUS) highlight(nearest);
  };

  drawing.setAttribute("role", "group");
  drawing.setAttribute("aria-label", `${name} by epoch`);
  drawing.addEventListener("pointermove", highlightNearest);
  drawing.addEventListener("pointerdown", highlightNearest);
  // Listen on the figure: Chromium adds an SVG that listens for focus to the tab order.
  figure.addEventListener("focusin", (event) => highlight(event.target.closest("use")));
  curves.forEach((curve) => curve.querySelectorAll("use").forEach((point) => point.setAttribute("role", "img")));
  rovingTabindex(drawing, points);

  /** @param {Set<string>} experiments */
  const show = (experiments) => {
    curves.forEach((curve) => curve.toggleAttribute("hidden", !experiments.has(curve.dataset.experiment)));
    drawing.querySelectorAll("[tabindex]").forEach((point) => point.removeAttribute("tabindex"));
    points().flat().forEach((point, index) => (point.tabIndex = index === 0 ? 0 : -1));
    highlight();
  };

  /** @param {string} experiment @returns {SVGSVGElement | null} the marker of its curves */
  const marker = (experiment) => {
    const curve = curves.findLast((one) => one.dataset.experiment === experiment && one.querySelector("use"));
    if (!curve) return null;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "-5 -5 10 10");
    svg.setAttribute("class", "marker");
    svg.setAttribute("aria-hidden", "true");
    const point = curve.querySelector("use").cloneNode();
    for (const name of ["x", "y", "role", "tabindex"]) point.removeAttribute(name);
    svg.append(point);
    return svg;
  };
  return { figure, show, marker };
}

/** @param {SVGSVGElement} drawing @returns {string} the drawing as it is shown, without hidden curves */
function serialize(drawing) {
  const copy = /** @type {SVGSVGElement} */ (drawing.cloneNode(true));
  copy.querySelectorAll("[hidden]").forEach((hidden) => hidden.remove());
  const { color, backgroundColor } = getComputedStyle(drawing.closest("figure"));
  const background = document.createElementNS(SVG, "rect");
  for (const [name, value] of [["width", "100%"], ["height", "100%"], ["fill", backgroundColor]]) background.setAttribute(name, value);
  copy.prepend(background);
  copy.setAttribute("color", color);
  return new XMLSerializer().serializeToString(copy);
}

/** @param {SVGSVGElement} drawing @param {string} name of the file */
async function drawPng(drawing, name) {
  const image = new Image();
  const { width, height } = drawing.viewBox.baseVal;
  image.src = URL.createObjectURL(new Blob([serialize(drawing)], { type: "image/svg+xml" }));
  await image.decode();
  const { canvas, context } = createPicture(width, height);
  context.drawImage(image, 0, 0, width, height);
  URL.revokeObjectURL(image.src);
  savePng(canvas, name);
}

/** One drawing of learning curves: which of them are shown, and what the point at hand says. */

import { element } from "../lib/dom.js";
import { rove } from "./roving_tabindex.js";

const REACH = 20;
const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {SVGSVGElement} drawing with a `g[data-experiment]` for each curve, and a `use` with a
 *   `title` for each of its points
 * @param {string} name of what is drawn
 */
export function chart(drawing, name) {
  const curves = /** @type {SVGGElement[]} */ ([...drawing.querySelectorAll("[data-experiment]")]);
  const idle = "Point at a curve, or go along it with the arrow keys, to read its values.";
  const readout = element("p", { class: "readout" }, idle);
  const shown = element("figure", { class: "chart" }, element("figcaption", {}, name), drawing, readout);
  const points = () =>
    curves
      .filter((curve) => !curve.hasAttribute("hidden"))
      .map((curve) => /** @type {SVGUseElement[]} */ ([...curve.querySelectorAll("use")]))
      .filter((row) => row.length > 0);

  /** @param {SVGUseElement} [chosen] */
  const point = (chosen) => {
    drawing.querySelector(".pointed")?.classList.remove("pointed");
    chosen?.classList.add("pointed");
    readout.textContent = chosen ? chosen.textContent : idle;
  };
  const nearest = (/** @type {PointerEvent} */ { clientX, clientY }) => {
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const far = (/** @type {SVGUseElement} */ at) => Math.hypot(at.x.baseVal.value - x, at.y.baseVal.value - y);
    const found = points().flat().reduce((best, at) => (best && far(best) <= far(at) ? best : at), null);
    if (found && far(found) <= REACH) point(found);
  };

  drawing.setAttribute("role", "group");
  drawing.setAttribute("aria-label", `${name} by epoch`);
  drawing.addEventListener("pointermove", nearest);
  drawing.addEventListener("pointerdown", nearest);
  // Not on the drawing itself: Chromium has those that listen for focus in the tab order.
  shown.addEventListener("focusin", (event) => point(event.target.closest("use")));
  curves.forEach((curve) => curve.querySelectorAll("use").forEach((at) => at.setAttribute("role", "img")));
  rove(drawing, points);

  /** @param {Set<string>} chosen the experiments to show */
  const show = (chosen) => {
    curves.forEach((curve) => curve.toggleAttribute("hidden", !chosen.has(curve.dataset.experiment)));
    drawing.querySelectorAll("[tabindex]").forEach((at) => at.removeAttribute("tabindex"));
    points().flat().forEach((at, index) => (at.tabIndex = index === 0 ? 0 : -1));
    point();
  };

  /** @param {string} experiment @returns {SVGSVGElement | null} the sign that its curves have */
  const sign = (experiment) => {
    const curve = curves.findLast((one) => one.dataset.experiment === experiment && one.querySelector("use"));
    if (!curve) return null;
    const made = document.createElementNS(SVG, "svg");
    made.setAttribute("viewBox", "-5 -5 10 10");
    made.setAttribute("class", "sign");
    made.setAttribute("aria-hidden", "true");
    const marker = curve.querySelector("use").cloneNode();
    for (const name of ["x", "y", "role", "tabindex"]) marker.removeAttribute(name);
    made.append(marker);
    return made;
  };
  return { shown, show, sign };
}

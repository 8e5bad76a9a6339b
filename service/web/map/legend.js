/** The colours of the labels. Picking labels leaves only those in colour. */

import { element } from "../lib/dom.js";
import { palette } from "./palette.js";

/**
 * Create the legend.
 * @param {import("./layouts.js").Layouts} layouts @param {(isolated: Set<number>) => void} onIsolate
 * @returns {HTMLElement}
 */
export function legend({ labels, label }, onIsolate) {
  const colours = palette(labels.length);
  const counts = new Array(labels.length).fill(0);
  for (const index of label) counts[index] += 1;
  /** @type {Set<number>} */
  const isolated = new Set();
  const entries = labels.map((name, index) => {
    const button = element(
      "button",
      {
        class: "legend-entry",
        type: "button",
        "aria-pressed": "false",
        onclick: () => {
          if (!isolated.delete(index)) isolated.add(index);
          button.setAttribute("aria-pressed", String(isolated.has(index)));
          onIsolate(isolated);
        },
      },
      element("span", { class: "legend-swatch", "aria-hidden": "true", style: { "--label-color": colours[index] } }),
      element("span", { class: "legend-name" }, name),
      element("span", { class: "legend-count" }, counts[index].toLocaleString("en")),
    );
    return counts[index] > 0 && element("li", {}, button);
  });
  return element("section", { class: "map-legend", "aria-label": "Labels" }, element("h2", {}, "Labels"), element("ul", {}, ...entries));
}

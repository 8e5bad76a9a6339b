/** Chooses the layers at which neighbours are searched. */

import { element } from "../lib/dom.js";

/**
 * Create a checkbox for each layer; at least one stays checked.
 * @param {string[]} layers that can be searched @param {string[]} chosen
 * @param {(layers: string[]) => void} onChange
 * @returns {HTMLElement | null} null if there is no choice
 */
export function layerChoice(layers, chosen, onChange) {
  if (layers.length < 2) return null;
  const boxes = layers.map((layer) =>
    element("input", { type: "checkbox", value: layer, checked: chosen.includes(layer), disabled: chosen.length === 1 && chosen[0] === layer, onchange: () => onChange(checked()) }),
  );
  const checked = () => layers.filter((_, index) => boxes[index].checked);
  return element(
    "fieldset",
    { class: "choices" },
    element("legend", {}, "Compare at"),
    ...layers.map((layer, index) => element("label", {}, boxes[index], layer)),
  );
}

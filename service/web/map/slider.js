/** Goes through the layers of the network: by a slider, by a button that plays, by a key. */

import { element } from "../lib/dom.js";

/** How long a layer is shown when the layers are played. */
const HOLD_MS = 1600;

export class LayerSlider {
  #layers;
  #onLayer;
  #timer = 0;

  /** @param {string[]} layers @param {string} first @param {(layer: string) => void} onLayer */
  constructor(layers, first, onLayer) {
    this.#layers = layers;
    this.#onLayer = onLayer;
    this.input = /** @type {HTMLInputElement} */ (
      element("input", {
        type: "range", min: 0, max: layers.length - 1, step: 1, value: layers.indexOf(first), "aria-label": "Layer", "aria-valuetext": first,
        oninput: () => {
          this.#stop();
          this.#show();
        },
      })
    );
    this.play = element("button", { class: "button small play", type: "button", onclick: () => (this.#timer ? this.#stop() : this.#play()) }, "Play");
    this.names = layers.map((name, index) => element("button", { class: "layer-name", type: "button", tabindex: -1, "aria-hidden": "true", onclick: () => this.#go(index) }, name));
    const scale = element("div", { class: "layer-names", style: { "--layers": layers.length } }, ...this.names);
    this.view = element("div", { class: "layer-slider" }, this.play, element("div", {}, this.input, scale));
    this.#mark();
  }

  /** @param {AbortSignal} signal ends playing */
  start(signal) {
    signal.addEventListener("abort", () => this.#stop());
  }

  /** @param {number} steps */
  step(steps) {
    this.#stop();
    this.#go(Number(this.input.value) + steps);
  }

  /** @param {number} index */
  #go(index) {
    if (index < 0 || index >= this.#layers.length) return;
    this.input.value = String(index);
    this.#show();
  }

  #show() {
    this.#mark();
    this.#onLayer(this.#layers[Number(this.input.value)]);
  }

  #mark() {
    const index = Number(this.input.value);
    this.input.setAttribute("aria-valuetext", this.#layers[index]);
    this.names.forEach((name, n) => name.classList.toggle("current", n === index));
  }

  #play() {
    const last = this.#layers.length - 1;
    this.play.textContent = "Pause";
    this.#go(Number(this.input.value) === last ? 0 : Number(this.input.value) + 1);
    const next = () => {
      if (Number(this.input.value) === last) return this.#stop();
      this.#go(Number(this.input.value) + 1);
      this.#timer = setTimeout(next, HOLD_MS);
    };
    this.#timer = setTimeout(next, HOLD_MS);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.play.textContent = "Play";
  }
}

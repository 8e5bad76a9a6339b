/** Changes the gallery, asks for the key that this needs, and lets each change be undone. */

import * as api from "../lib/api.js";
import { element, errorMessage } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { retry } from "./retry.js";
import { toast } from "./toast.js";

/** Attribute of an image whose label was confirmed. */
export const CONFIRMED = "label_confirmed";

/** @typedef {api.Item} Item */

export class Curator {
  /** Where errors and the form for the key appear. */
  notice = element("div", { class: "curator-notice" });

  /**
   * Delete images. They leave the page at once, and the service when the message ends.
   * @param {Item[]} items @param {(hidden: boolean) => void} hide hides their elements, or shows them again
   */
  async remove(items, hide) {
    if (!(await this.#isAllowed(items[0]))) return;
    hide(true);
    if (await toast(`${plural(items.length, "image")} deleted.`)) hide(false);
    else if (!(await this.#change(items, ({ id }) => api.remove(id)))) hide(false);
  }

  /**
   * Give images a label.
   * @param {Item[]} items @param {string} label @param {(label: string | null) => void} show shows the new label; null is the old one
   */
  async relabel(items, label, show) {
    if (!(await this.#change(items, ({ id }) => api.edit(id, { label })))) return;
    show(label);
    if (!(await toast(`${plural(items.length, "image")} labelled ${label}.`))) return;
    await this.#change(items, ({ id, label: before, label_predicted: predicted }) => api.edit(id, { label: predicted ? null : before }));
    show(null);
  }

  /**
   * Confirm the label of an image, so that it is no longer listed as in doubt.
   * @param {Item} item @param {(hidden: boolean) => void} hide
   */
  async confirm(item, hide) {
    const set = (/** @type {string | null} */ value) => this.#change([item], ({ id }) => api.edit(id, { attributes: { [CONFIRMED]: value } }));
    if (!(await set("true"))) return;
    hide(true);
    if ((await toast(`Kept as ${item.label}.`)) && (await set(null))) hide(false);
  }

  /** Ask for a key before anything seems done. @param {Item} item */
  #isAllowed(item) {
    return this.#change([item], ({ id }) => api.edit(id, {}));
  }

  /**
   * Change images one after the other.
   * @param {Item[]} items @param {(item: Item) => Promise<unknown>} change
   * @returns {Promise<boolean>} false if it failed; the notice says why
   */
  async #change(items, change) {
    try {
      for (const item of items) await retry(this.notice, () => change(item));
      return true;
    } catch (error) {
      this.notice.replaceChildren(errorMessage(error.message));
      return false;
    }
  }
}

/** Asks for a label, in a dialog or in a form: one of the classes or a new one. */

import { element } from "../lib/dom.js";

/**
 * Create a field for a label, with the classes as suggestions.
 * @param {string[]} classes @param {Record<string, unknown>} attributes of the input
 * @returns {{ field: HTMLElement, input: HTMLInputElement }}
 */
export function labelField(classes, attributes) {
  const list = `labels-${Math.random().toString(36).slice(2)}`;
  const input = /** @type {HTMLInputElement} */ (element("input", { list, maxlength: 100, autocomplete: "off", ...attributes }));
  const options = classes.map((name) => element("option", { value: name }));
  return { field: element("label", { class: "field" }, "Label", input, element("datalist", { id: list }, ...options)), input };
}

/**
 * Ask for a label.
 * @param {string} title @param {string[]} classes
 * @returns {Promise<string | null>} null if the dialog is cancelled
 */
export function askForLabel(title, classes) {
  const { field, input } = labelField(classes, { required: true });
  return new Promise((resolve) => {
    let label = null;
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      label = input.value.trim() || null;
      dialog.close();
    };
    const dialog = /** @type {HTMLDialogElement} */ (
      element(
        "dialog",
        { class: "ask", "aria-label": title },
        element(
          "form",
          { onsubmit: submit },
          element("h2", {}, title),
          field,
          element(
            "div",
            { class: "upload-buttons" },
            element("button", { class: "button primary" }, "Use this label"),
            element("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Cancel"),
          ),
        ),
      )
    );
    dialog.onclose = () => {
      dialog.remove();
      resolve(label);
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

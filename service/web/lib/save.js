/** Saves what a view shows as a file: a picture, a drawing or a table. */

import { element } from "./dom.js";

/** @param {Blob} blob @param {string} name of the file */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** @param {HTMLCanvasElement} canvas @param {string} name without ending */
export const savePng = (canvas, name) => canvas.toBlob((blob) => saveBlob(blob, `${name}.png`));

/** @param {string} svg @param {string} name without ending */
export const saveSvg = (svg, name) => saveBlob(new Blob([svg], { type: "image/svg+xml" }), `${name}.svg`);

/** @param {(string | number | null | undefined)[][]} rows the first has the titles @param {string} name without ending */
export function saveCsv(rows, name) {
  const cell = (/** @type {string | number | null | undefined} */ value) => {
    const text = String(value ?? "");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  saveBlob(new Blob([rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" }), `${name}.csv`);
}

/**
 * Create buttons that save.
 * @param {Record<string, () => void>} kinds what each button saves, by its name @param {string} what for screen readers
 * @returns {HTMLElement}
 */
export function saveButtons(kinds, what) {
  const buttons = Object.entries(kinds).map(([kind, save]) =>
    element("button", { class: "link-button", type: "button", "aria-label": `Save ${what} as ${kind}`, onclick: save }, kind),
  );
  return element("p", { class: "save" }, "Save as ", ...buttons.flatMap((button, index) => (index ? [" · ", button] : [button])));
}

/**
 * Create a canvas with the colours and the font of the page.
 * @param {number} width @param {number} height in CSS pixels
 */
export function createPicture(width, height, scale = 2) {
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const font = (/** @type {string} */ size) => (context.font = `${size} ${style.fontFamily}`);
  context.fillStyle = colour("background");
  context.fillRect(0, 0, width, height);
  context.fillStyle = colour("text");
  context.textBaseline = "top";
  return { canvas, context, colour, font };
}

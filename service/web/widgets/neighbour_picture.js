/** Saves the query and its neighbours as one picture. */

import { decimal, nameOf } from "../lib/format.js";
import { createPicture, savePng } from "../lib/save.js";

const TILE = 128;
const GAP = 16;
const ACROSS = 6;
const LINE = TILE + 48;

/**
 * Draw what is on the page, and save it.
 * @param {HTMLElement} query its picture @param {import("./prediction.js").Result} result @param {string[]} layers
 */
export function saveNeighbours(query, result, layers) {
  const card = (/** @type {string} */ layer, /** @type {string} */ id) => document.querySelector(`[data-layer="${CSS.escape(layer)}"] .card[data-id="${CSS.escape(id)}"]`);
  const shown = layers.map((layer) => result.similar[layer].filter(({ id }) => card(layer, id)));
  const lines = Math.max(...shown.map((row) => Math.ceil(row.length / ACROSS)));
  const left = TILE + 3 * GAP;
  const block = 40 + lines * LINE;
  const { canvas, context, colour, font } = createPicture(left + ACROSS * (TILE + GAP), GAP + layers.length * block + 24);
  const put = (/** @type {Element | null} */ image, /** @type {number} */ x, /** @type {number} */ y) => {
    context.fillStyle = colour("border");
    context.fillRect(x, y, TILE, TILE);
    if (!(image instanceof HTMLImageElement || image instanceof HTMLCanvasElement)) return;
    context.imageSmoothingEnabled = image.classList.contains("photo");
    if (image instanceof HTMLCanvasElement || image.naturalWidth > 0) context.drawImage(image, x, y, TILE, TILE);
  };
  const write = (/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ name = "text", width = TILE) => {
    context.fillStyle = colour(name);
    context.fillText(text, x, y, width);
  };
  put(document.querySelector(".query-images .pixels") ?? query, GAP, GAP);
  font("700 20px");
  write(result.predicted ?? "", GAP, GAP + TILE + 8);
  layers.forEach((layer, index) => {
    const top = GAP + index * block;
    font("700 18px");
    write(layer, left, top, "text", 400);
    shown[index].forEach((neighbour, n) => {
      const { id, score } = neighbour;
      const [x, y] = [left + (n % ACROSS) * (TILE + GAP), top + 32 + Math.floor(n / ACROSS) * LINE];
      put(card(layer, id).querySelector(".pixels"), x, y);
      font("600 14px");
      write(nameOf(neighbour), x, y + TILE + 6, "text", TILE - 52);
      font("14px");
      write(decimal(score), x + TILE - 46, y + TILE + 6, "text-muted");
    });
  });
  savePng(canvas, `kindred-${result.predicted ?? "similar"}`);
}

/** The map itself: points that move between layers, thumbnails when near, the query and its nearest. */

import { element } from "../lib/dom.js";
import { savePng, saveSvg } from "../lib/save.js";
import { listen } from "./gestures.js";
import { Painter } from "./painter.js";
import { palette, toPixels } from "./palette.js";
import { Thumbnails } from "./thumbnails.js";
import { Viewport } from "./viewport.js";

const MOVE_MS = 900;
/** Pixels within which a point is meant. */
const REACH = 16;
/** Thumbnails on the map at a time, at most. */
const THUMBNAILS = 240;
/** Images that the keyboard chooses around the centre. */
const AROUND = 24;
const WAIT_MS = 300;

/**
 * @typedef {object} Options
 * @property {(index: number) => import("../widgets/tile.js").Item} thumbnail
 * @property {(index: number | null, score?: number) => void} onHover
 * @property {(index: number) => void} onPick
 * @property {(indexes: number[]) => void} onChoose
 * @property {(steps: number) => void} onLayer
 * @property {(at: string) => void} onMove
 */

export class Stage {
  #layouts;
  #layers;
  #options;
  #viewport = new Viewport();
  #base = document.createElement("canvas");
  #overlay = document.createElement("canvas");
  #painter = new Painter(this.#base);
  #thumbnails = new Thumbnails(() => this.#redraw());
  /** @type {{ from: string, to: string, share: number }} */
  #between;
  #frame = 0;
  #timer = 0;
  #lassoMode = false;
  /** @type {[number, number][]} */
  #lasso = [];
  #hovered = -1;
  #highlighted = -1;
  /** @type {Uint8Array | undefined} */
  #isDim;
  /** @type {{ index: number, score: number }[]} */
  #nearest = [];
  /** @type {{ places: Record<string, { x: number, y: number }>, own: number | null, picture: CanvasImageSource | null } | null} */
  #query = null;
  /** @type {{ css: string[], points: Uint32Array, background: number, dim: number, text: string, accent: string, surface: string }} */
  #colours;

  /** @param {import("./layouts.js").Layouts} layouts @param {string[]} layers @param {string} first @param {Options} options */
  constructor(layouts, layers, first, options) {
    this.#layouts = layouts;
    this.#layers = layers;
    this.#options = options;
    this.#between = { from: first, to: first, share: 1 };
    this.#base.setAttribute("aria-hidden", "true");
    this.#overlay.setAttribute("aria-hidden", "true");
    this.view = element(
      "div",
      { class: "map-stage", tabindex: 0, role: "application", "aria-label": "Map", "aria-describedby": "map-help", onfocus: () => this.#redraw(), onblur: () => this.#redraw() },
      this.#base,
      this.#overlay,
    );
    listen(this.view, this.#viewport, {
      isLasso: () => this.#lassoMode,
      onLasso: (points, done) => this.#drawLasso(points, done),
      onPoint: (left, top) => this.#hover(this.#at(left, top)),
      onLeave: () => this.#hover(-1),
      onPick: (left, top) => {
        const index = this.#at(left, top);
        if (index >= 0) options.onPick(index);
      },
      onChoose: () => options.onChoose(this.#around(this.#viewport.width / 2, this.#viewport.height / 2, AROUND)),
      onLayer: options.onLayer,
      onChange: () => this.#changed(),
    });
  }

  /** @param {string | undefined} at part of the map to show first @param {AbortSignal} signal */
  start(at, signal) {
    this.#viewport.parse(at);
    this.#recolour();
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(this.view);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.#recolour(), { signal });
    signal.addEventListener("abort", () => {
      observer.disconnect();
      cancelAnimationFrame(this.#frame);
      clearTimeout(this.#timer);
    });
    this.#resize();
  }

  /** Move the points to another layer. @param {string} layer @returns {Promise<void>} once they are there */
  goTo(layer) {
    const { to, share } = this.#between;
    if (to === layer && share === 1) return Promise.resolve();
    this.#nearest = [];
    this.#between = { from: to, to: layer, share: 0 };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.#between.share = 1;
    const started = performance.now();
    return new Promise((resolve) => {
      const move = (/** @type {number} */ now) => {
        if (this.#between.to !== layer || !this.view.isConnected) return;
        const part = Math.min(Math.max((now - started) / MOVE_MS, 0), 1);
        if (this.#between.share < 1) this.#between.share = part < 0.5 ? 4 * part ** 3 : 1 - (2 - 2 * part) ** 3 / 2;
        this.#paint();
        if (this.#between.share < 1) requestAnimationFrame(move);
        else resolve();
      };
      requestAnimationFrame(move);
    });
  }

  /** @param {Record<string, { x: number, y: number }>} places by layer @param {number | null} own its point @param {HTMLElement | null} picture */
  setQuery(places, own, picture) {
    this.#query = { places, own, picture: /** @type {CanvasImageSource | null} */ (picture) };
    this.#redraw();
  }

  /** @param {{ index: number, score: number }[]} nearest of the query */
  setNearest(nearest) {
    this.#nearest = nearest;
    this.#redraw();
  }

  /** @param {number} index of a point, or -1 */
  highlight(index) {
    this.#highlighted = index;
    this.#redraw();
  }

  /** Leave only these labels in colour. @param {Set<number>} labels all if it is empty */
  isolate(labels) {
    this.#isDim = labels.size > 0 ? Uint8Array.from(this.#layouts.label, (label) => Number(!labels.has(label))) : undefined;
    this.#redraw();
  }

  /** @returns {boolean} whether a drag draws a lasso now */
  toggleLasso() {
    this.#lassoMode = !this.#lassoMode;
    this.view.classList.toggle("lasso", this.#lassoMode);
    return this.#lassoMode;
  }

  /** @param {number} factor */
  zoom(factor) {
    this.#viewport.zoom(factor);
    this.#changed();
  }

  reset() {
    this.#viewport.reset();
    this.#changed();
  }

  savePng() {
    const canvas = document.createElement("canvas");
    canvas.width = this.#base.width;
    canvas.height = this.#base.height;
    canvas.getContext("2d").drawImage(this.#base, 0, 0);
    canvas.getContext("2d").drawImage(this.#overlay, 0, 0);
    savePng(canvas, `kindred-map-${this.#between.to}`);
  }

  saveSvg() {
    const { width, height } = this.#viewport;
    const radius = this.#radius();
    const { css } = this.#colours;
    const circles = this.#visible().map(({ index, left, top }) => `<circle cx="${left.toFixed(1)}" cy="${top.toFixed(1)}" r="${radius}" fill="${css[this.#layouts.label[index]]}"/>`);
    const background = getComputedStyle(this.view).backgroundColor;
    saveSvg(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"><rect width="100%" height="100%" fill="${background}"/>${circles.join("")}</svg>`,
      `kindred-map-${this.#between.to}`,
    );
  }

  #changed() {
    this.#redraw();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.view.isConnected && this.#options.onMove(this.#viewport.toString()), WAIT_MS);
  }

  #resize() {
    const { width, height } = this.view.getBoundingClientRect();
    Object.assign(this.#viewport, { width, height });
    const [across, down] = [width, height].map((pixels) => Math.round(pixels * devicePixelRatio));
    this.#painter.resize(across, down);
    this.#overlay.width = across;
    this.#overlay.height = down;
    this.#paint();
  }

  #recolour() {
    const css = palette(this.#layouts.labels.length);
    const style = getComputedStyle(document.documentElement);
    const [surface, border, text, accent] = ["surface", "border", "text", "accent"].map((name) => style.getPropertyValue(`--${name}`).trim());
    const [background, dim, ...byLabel] = toPixels([surface, border, ...css]);
    this.#colours = { css, points: Uint32Array.from(this.#layouts.label, (label) => byLabel[label]), background, dim, text, accent, surface };
    this.#redraw();
  }

  #redraw() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  #radius() {
    const many = this.#layouts.ids.length > 20_000;
    return Math.min((many ? 1.2 : 2.2) * Math.sqrt(this.#viewport.scale), 6);
  }

  #paint() {
    this.#frame = 0;
    const from = this.#layouts.get(this.#between.from);
    const to = this.#layouts.get(this.#between.to);
    if (!from || !to || !this.#colours) return;
    const { points: colours, background, dim } = this.#colours;
    this.#painter.paint(from, to, this.#between.share, this.#viewport, devicePixelRatio, { colours, background, dim, radius: this.#radius(), isDim: this.#isDim });
    this.#paintOverlay();
  }

  #paintOverlay() {
    const context = this.#overlay.getContext("2d");
    const { text, accent, surface, css } = this.#colours;
    const { width, height } = this.#viewport;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (this.#between.share === 1) this.#paintThumbnails(context);
    const ring = (/** @type {number} */ index, /** @type {number} */ radius, /** @type {string} */ colour) => {
      const [left, top] = this.#place(index);
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(left, top, radius, 0, 2 * Math.PI);
      context.stroke();
    };
    const query = this.#queryPlace();
    if (query) {
      context.lineWidth = 1.5;
      context.strokeStyle = text;
      for (const { index } of this.#nearest) {
        context.beginPath();
        context.moveTo(...query);
        context.lineTo(...this.#place(index));
        context.stroke();
        ring(index, 6, text);
      }
      const [left, top] = query;
      const up = top < 72 ? -1 : 1; // the picture is above its place, or below it at the upper edge
      context.fillStyle = accent;
      context.fillRect(left - 1, Math.min(top, top - 22 * up), 2, 22);
      this.#paintPicture(context, this.#query.picture, [left, top - 44 * up], 44, accent, surface);
      context.fillStyle = accent;
      context.beginPath();
      context.arc(...query, 4, 0, 2 * Math.PI);
      context.fill();
    }
    for (const index of [this.#hovered, this.#highlighted]) {
      if (index < 0) continue;
      const shown = this.#thumbnail(index);
      if (shown) this.#paintPicture(context, shown, this.#place(index), 72, css[this.#layouts.label[index]], surface);
      else ring(index, 9, accent);
    }
    if (this.#lasso.length > 1) {
      context.beginPath();
      this.#lasso.forEach(([left, top]) => context.lineTo(left, top));
      context.closePath();
      context.globalAlpha = 0.15;
      context.fillStyle = accent;
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = accent;
      context.stroke();
    }
    if (this.view.matches(":focus-visible")) {
      context.strokeStyle = accent;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(width / 2 + 4 * dx, height / 2 + 4 * dy);
        context.lineTo(width / 2 + 12 * dx, height / 2 + 12 * dy);
      }
      context.stroke();
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  #paintThumbnails(context) {
    const visible = this.#visible(THUMBNAILS + 1);
    if (visible.length === 0 || visible.length > THUMBNAILS) return;
    const { width, height } = this.#viewport;
    const side = Math.min(Math.max(Math.sqrt((width * height) / visible.length) * 0.55, 20), 64);
    for (const { index, left, top } of visible) {
      if (this.#isDim?.[index]) continue;
      const image = this.#thumbnail(index);
      if (image) this.#paintPicture(context, image, [left, top], side, this.#colours.css[this.#layouts.label[index]], this.#colours.surface);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {CanvasImageSource | null} picture @param {[number, number]} place
   * @param {number} side @param {string} colour of its frame @param {string} surface
   */
  #paintPicture(context, picture, [left, top], side, colour, surface) {
    const [x, y] = [left - side / 2, top - side / 2];
    context.fillStyle = colour;
    context.fillRect(x - 3, y - 3, side + 6, side + 6);
    context.fillStyle = surface;
    context.fillRect(x, y, side, side);
    context.imageSmoothingEnabled = false;
    const ready = picture instanceof HTMLCanvasElement || (picture instanceof HTMLImageElement && picture.complete && picture.naturalWidth > 0);
    if (ready) context.drawImage(picture, x, y, side, side);
  }

  /** @param {number} index */
  #thumbnail(index) {
    const { image, reconstruction } = this.#options.thumbnail(index);
    const path = image ?? reconstruction;
    return path ? this.#thumbnails.get(path) : null;
  }

  /** @param {number} index @returns {[number, number]} in pixels */
  #place(index) {
    const { from, to, share } = this.#between;
    const [a, b] = [this.#layouts.get(from), this.#layouts.get(to)];
    return this.#viewport.toPixels(a.x[index] + (b.x[index] - a.x[index]) * share, a.y[index] + (b.y[index] - a.y[index]) * share);
  }

  /** @returns {[number, number] | null} */
  #queryPlace() {
    if (!this.#query) return null;
    const { places, own } = this.#query;
    if (own !== null && own >= 0) return this.#place(own);
    const { from, to, share } = this.#between;
    const b = places[to];
    const a = places[from]?.x === null ? b : (places[from] ?? b);
    return b && b.x !== null ? this.#viewport.toPixels(a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share) : null;
  }

  /** @param {number} [limit] @returns {{ index: number, left: number, top: number }[]} points in view */
  #visible(limit = Infinity) {
    const { width, height } = this.#viewport;
    const found = [];
    for (let index = 0; index < this.#layouts.ids.length && found.length < limit; index += 1) {
      const [left, top] = this.#place(index);
      if (left >= 0 && top >= 0 && left <= width && top <= height) found.push({ index, left, top });
    }
    return found;
  }

  /** @param {number} left @param {number} top @param {number} count @returns {number[]} the points nearest to a pixel */
  #around(left, top, count) {
    const distance = (/** @type {{ left: number, top: number }} */ point) => Math.hypot(point.left - left, point.top - top);
    return this.#visible().sort((a, b) => distance(a) - distance(b)).slice(0, count).map(({ index }) => index);
  }

  /** @param {number} left @param {number} top @returns {number} the point that is meant, or -1 */
  #at(left, top) {
    let [best, least] = [-1, REACH ** 2];
    for (let index = 0; index < this.#layouts.ids.length; index += 1) {
      const [x, y] = this.#place(index);
      const distance = (x - left) ** 2 + (y - top) ** 2;
      if (distance < least && !this.#isDim?.[index]) [best, least] = [index, distance];
    }
    return best;
  }

  /** @param {number} index */
  #hover(index) {
    if (index === this.#hovered) return;
    this.#hovered = index;
    this.view.classList.toggle("on-point", index >= 0);
    this.#options.onHover(index < 0 ? null : index, this.#nearest.find((one) => one.index === index)?.score);
    this.#redraw();
  }

  /** @param {[number, number][]} points in pixels @param {boolean} done */
  #drawLasso(points, done) {
    this.#lasso = done ? [] : points;
    this.#redraw();
    if (!done || points.length < 3) return;
    const path = new Path2D();
    points.forEach(([left, top]) => path.lineTo(left, top));
    const context = document.createElement("canvas").getContext("2d");
    this.#options.onChoose(this.#visible().filter(({ index, left, top }) => !this.#isDim?.[index] && context.isPointInPath(path, left, top)).map(({ index }) => index));
  }
}

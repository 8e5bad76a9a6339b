/** The map itself: points that move between layers, thumbnails when near, the query and its nearest. */

import { element } from "../lib/dom.js";
import { savePng, saveSvg } from "../lib/save.js";
import { listen } from "./gestures.js";
import { Painter } from "./painter.js";
import { palette, toPixels } from "./palette.js";
import { Points } from "./points.js";
import { Sketch } from "./sketch.js";
import { Thumbnails } from "./thumbnails.js";
import { Viewport } from "./viewport.js";

const MOVE_MS = 900;
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
  #options;
  #viewport = new Viewport();
  #base = document.createElement("canvas");
  #overlay = document.createElement("canvas");
  #painter = new Painter(this.#base);
  #sketch = new Sketch(this.#overlay);
  #thumbnails = new Thumbnails(() => this.#redraw());
  /** @type {Points} */
  #points;
  #frame = 0;
  #timer = 0;
  #lassoMode = false;
  /** @type {[number, number][]} */
  #lasso = [];
  #hovered = -1;
  #highlighted = -1;
  /** @type {{ index: number, score: number }[]} */
  #nearest = [];
  /** @type {{ places: Record<string, { x: number, y: number }>, own: number | null, picture: CanvasImageSource | null } | null} */
  #query = null;
  /** @type {{ css: string[], points: Uint32Array, background: number, dim: number, text: string, accent: string, surface: string }} */
  #colours;

  /** @param {import("./layouts.js").Layouts} layouts @param {string} first layer @param {Options} options */
  constructor(layouts, first, options) {
    this.#layouts = layouts;
    this.#options = options;
    this.#points = new Points(layouts, this.#viewport, first);
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
      onPoint: (left, top) => this.#hover(this.#points.at(left, top)),
      onLeave: () => this.#hover(-1),
      onPick: (left, top) => {
        const index = this.#points.at(left, top);
        if (index >= 0) options.onPick(index);
      },
      onChoose: () => options.onChoose(this.#points.aroundCentre(AROUND)),
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
    const { to, share } = this.#points.between;
    if (to === layer && share === 1) return Promise.resolve();
    this.#nearest = [];
    const between = { from: to, to: layer, share: matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : 0 };
    this.#points.between = between;
    const started = performance.now();
    return new Promise((resolve) => {
      const move = (/** @type {number} */ now) => {
        if (this.#points.between !== between || !this.view.isConnected) return;
        const part = Math.min(Math.max((now - started) / MOVE_MS, 0), 1);
        if (between.share < 1) between.share = part < 0.5 ? 4 * part ** 3 : 1 - (2 - 2 * part) ** 3 / 2;
        this.#paint();
        if (between.share < 1) requestAnimationFrame(move);
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
    this.#points.isDim = labels.size > 0 ? Uint8Array.from(this.#layouts.label, (label) => Number(!labels.has(label))) : undefined;
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
    savePng(canvas, `kindred-map-${this.#points.between.to}`);
  }

  saveSvg() {
    const { width, height } = this.#viewport;
    const radius = this.#radius();
    const { css } = this.#colours;
    const circles = this.#points.visible().map(({ index, left, top }) => `<circle cx="${left.toFixed(1)}" cy="${top.toFixed(1)}" r="${radius}" fill="${css[this.#layouts.label[index]]}"/>`);
    const background = getComputedStyle(this.view).backgroundColor;
    saveSvg(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"><rect width="100%" height="100%" fill="${background}"/>${circles.join("")}</svg>`,
      `kindred-map-${this.#points.between.to}`,
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
    const { from, to, share } = this.#points.between;
    const [a, b] = [this.#layouts.get(from), this.#layouts.get(to)];
    if (!a || !b || !this.#colours) return;
    const { points: colours, background, dim } = this.#colours;
    this.#painter.paint(a, b, share, this.#viewport, devicePixelRatio, { colours, background, dim, radius: this.#radius(), isDim: this.#points.isDim });
    this.#paintOverlay();
  }

  #paintOverlay() {
    const { text, accent, surface } = this.#colours;
    const { width, height } = this.#viewport;
    this.#sketch.clear(width, height);
    if (this.#points.between.share === 1) this.#paintThumbnails();
    this.#paintQuery();
    for (const index of [this.#hovered, this.#highlighted]) {
      if (index < 0) continue;
      const picture = this.#thumbnail(index);
      if (picture) this.#sketch.picture(picture, this.#points.place(index), 72, this.#colour(index), surface);
      else this.#sketch.ring(this.#points.place(index), 9, text);
    }
    if (this.#lasso.length > 1) this.#sketch.polygon(this.#lasso, accent);
    if (this.view.matches(":focus-visible")) this.#sketch.crosshair([width / 2, height / 2], accent);
  }

  #paintThumbnails() {
    const visible = this.#points.visible(THUMBNAILS + 1);
    if (visible.length === 0 || visible.length > THUMBNAILS) return;
    const { width, height } = this.#viewport;
    const side = Math.min(Math.max(Math.sqrt((width * height) / visible.length) * 0.55, 20), 64);
    for (const { index, left, top } of visible) {
      const picture = !this.#points.isDim?.[index] && this.#thumbnail(index);
      if (picture) this.#sketch.picture(picture, [left, top], side, this.#colour(index), this.#colours.surface);
    }
  }

  /** Draw the query at its place, its picture above or below, and lines to its nearest. */
  #paintQuery() {
    if (!this.#query) return;
    const { places, own, picture } = this.#query;
    const place = own !== null && own >= 0 ? this.#points.place(own) : this.#points.placeOf(places);
    if (!place) return;
    const { text, accent, surface } = this.#colours;
    for (const { index } of this.#nearest) {
      this.#sketch.line(place, this.#points.place(index), text);
      this.#sketch.ring(this.#points.place(index), 6, text);
    }
    const away = place[1] < 72 ? 44 : -44;
    this.#sketch.line(place, [place[0], place[1] + away], accent);
    this.#sketch.picture(picture, [place[0], place[1] + away], 44, accent, surface);
    this.#sketch.dot(place, 4, accent);
  }

  /** @param {number} index @returns {string} the colour of its label */
  #colour(index) {
    return this.#colours.css[this.#layouts.label[index]];
  }

  /** @param {number} index */
  #thumbnail(index) {
    const { image, reconstruction } = this.#options.thumbnail(index);
    const path = image ?? reconstruction;
    return path ? this.#thumbnails.get(path) : null;
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
    if (done && points.length > 2) this.#options.onChoose(this.#points.inside(points));
  }
}

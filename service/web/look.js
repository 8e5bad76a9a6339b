/** The first view: a picture, what the network takes it for, and what it finds like it. */

import { write } from "./address.js";
import * as api from "./api.js";
import { announce } from "./busy.js";
import { complaint, element } from "./dom.js";
import { buttons } from "./intake.js";
import { row } from "./neighbours.js";
import { persevere } from "./persevere.js";
import { asNetworkSees } from "./picture.js";
import { galleryLink, tile } from "./tile.js";
import { spoken, verdict } from "./verdict.js";

const NEIGHBOURS = 12;
const OFFERED = 20;
const CLASSES = 10;

/**
 * @typedef {import("./address.js").Place} Place
 * @typedef {object} Found
 * @property {Record<string, api.Neighbour[]>} similar
 * @property {string} answer the class that neighbours are compared with
 * @property {api.Item} [item] the gallery picture that was asked about
 * @typedef {api.Said & Found} Answer without predictions where the picture's pixels are not to be had
 */

export class Look {
  #album;
  #model;
  #take;
  /** @type {Map<string, Answer>} */
  #answers = new Map();

  /**
   * @param {import("./album.js").Album} album
   * @param {Promise<api.Model>} model
   * @param {(picture: Blob) => void} take
   */
  constructor(album, model, take) {
    this.#album = album;
    this.#model = model;
    this.#take = take;
  }

  /** @param {HTMLElement} main @param {Place} place @param {AbortSignal} signal */
  async render(main, place, signal) {
    if (place.image) await this.#fromGallery(main, place, signal);
    else if (place.picture) await this.#own(main, place, signal);
    else await this.#empty(main, signal);
  }

  /** @param {HTMLElement} main @param {AbortSignal} signal @param {string} [regret] */
  async #empty(main, signal, regret) {
    const offered = element("div", { class: "offered" });
    main.replaceChildren(
      element(
        "div",
        { class: "welcome" },
        element("h1", {}, "Give it an image; get its class, and its kin."),
        element(
          "div",
          { class: "drop" },
          element(
            "div",
            {},
            element("p", { class: "drop-lead" }, "Drop a picture anywhere, or paste one."),
            element("p", { class: "drop-note" }, "Of any size: it sees the centre square, at 32 × 32."),
          ),
          buttons(this.#take),
          regret ? complaint(regret) : null,
        ),
        offered,
      ),
    );
    document.title = "kindred";
    try {
      const model = await this.#model;
      const { items } = await persevere(offered, () => api.gallery({ limit: OFFERED }, signal), signal);
      const offers = api.pictured(items, model);
      if (offers.length === 0 || signal.aborted) return;
      offered.append(
        element("h2", {}, "Or start from the gallery"),
        element("ul", { class: "kin small" }, ...offers.map((item) => galleryLink(item))),
      );
    } catch (error) {
      if (signal.aborted) return;
      offered.append(complaint(`The gallery could not be shown. ${error.message}`));
    }
  }

  /** @param {HTMLElement} main @param {Place} place @param {AbortSignal} signal */
  async #own(main, place, signal) {
    const own = this.#album.get(place.picture);
    if (!own) {
      await this.#empty(main, signal, "That picture was only in the tab that it was dropped on. Give it again.");
      return;
    }
    const original = element("img", { src: own.url, alt: "Your picture", class: "original" });
    original.onerror = () => original.replaceWith(element("p", { class: "no-preview" }, "Your browser cannot show this format."));
    const seen = await asNetworkSees(own.blob);
    if (signal.aborted) return;
    const page = frame(
      [
        ["Your picture", original],
        ["As the network sees it", seen ? labelled(seen) : element("p", { class: "no-preview" }, "No preview")],
      ],
      this.#take,
    );
    const draw = () => (seen ? copy(seen) : element("span", { class: "lettered" }, "your picture"));
    await this.#fill(main, page, place, signal, draw, async () => {
      const said = await api.predict(own.blob, NEIGHBOURS, signal);
      return { ...said, answer: said.predictions[0].label };
    });
  }

  /** @param {HTMLElement} main @param {Place} place @param {AbortSignal} signal */
  async #fromGallery(main, place, signal) {
    const page = frame([], this.#take);
    await this.#fill(main, page, place, signal, ({ item }) => tile(item), async () => {
      const model = await this.#model;
      const [item] = api.pictured([await api.item(place.image, signal)], model);
      const [said, ...rows] = await Promise.all([
        classified(item, Math.min(CLASSES, model.classes.length), signal),
        ...api.LAYERS.map((layer) => api.similarTo(item.id, layer, NEIGHBOURS, signal)),
      ]);
      const similar = Object.fromEntries(api.LAYERS.map((layer, index) => [layer, rows[index].similar]));
      return { ...said, similar, answer: said.predictions[0]?.label ?? item.label, item };
    });
  }

  /**
   * Show the page at once, then the answer in it when it comes, or what kept it from coming.
   * @param {HTMLElement} main @param {ReturnType<typeof frame>} page @param {Place} place
   * @param {AbortSignal} signal
   * @param {(answer: Answer) => HTMLElement} draw the query's picture
   * @param {() => Promise<Answer>} ask
   */
  async #fill(main, page, place, signal, draw, ask) {
    const key = write({ ...place, why: undefined });
    main.replaceChildren(page.whole);
    try {
      const model = await this.#model;
      const answer = this.#answers.get(key) ?? (await persevere(page.answer, ask, signal));
      if (signal.aborted) return;
      this.#answers.set(key, answer);
      if (answer.item) page.pictures.replaceChildren(...galleryFigures(answer.item));
      page.answer.replaceChildren(...verdict(answer));
      const rows = api.LAYERS.map((layer) =>
        row({
          layer,
          neighbours: api.pictured(answer.similar[layer], model),
          answer: answer.answer,
          classes: model.classes,
          query: () => draw(answer),
          explained: place.why?.layer === layer ? place.why.id : null,
          choose: (id) => {
            rows.forEach(({ collapse }, index) => api.LAYERS[index] !== layer && collapse());
            history.replaceState(null, "", write({ ...place, why: id === null ? undefined : { layer, id } }));
          },
        }),
      );
      page.rows.replaceChildren(...rows.map(({ section }) => section));
      document.title = `${answer.answer} · kindred`;
      announce(`${spoken(answer)} ${answer.similar.conv2.length} similar pictures at each layer.`);
    } catch (error) {
      if (signal.aborted) return;
      page.answer.replaceChildren(complaint(error.message));
      document.title = "kindred";
    }
  }
}

/** @param {[string, HTMLElement][]} pictures @param {(picture: Blob) => void} take */
function frame(pictures, take) {
  const shown = element(
    "div",
    { class: "query-pictures" },
    ...pictures.map(([name, picture]) => element("figure", {}, picture, element("figcaption", {}, name))),
  );
  const answer = element("div", { class: "answer" });
  const rows = element("div", { class: "rows" });
  const another = element(
    "div",
    { class: "another" },
    element("p", {}, "Another? Drop or paste it anywhere."),
    buttons(take),
  );
  const whole = element("div", { class: "looking" }, element("div", { class: "query" }, shown, answer, another), rows);
  return { whole, pictures: shown, answer, rows };
}

/** @param {api.Item} item @returns {HTMLElement[]} */
function galleryFigures(item) {
  return [
    element(
      "figure",
      {},
      element("div", { role: "img", "aria-label": `Gallery picture ${item.id}` }, tile(item)),
      element("figcaption", {}, "From the gallery: ", element("span", { class: "id" }, item.id)),
    ),
  ];
}

/** @param {api.Item} item @param {number} top @param {AbortSignal} signal @returns {Promise<api.Said>} */
async function classified(item, top, signal) {
  if (!item.image) return { predictions: [] };
  return api.classify(await api.pixels(item.image, signal), top, signal);
}

/** @param {HTMLCanvasElement} canvas @returns {HTMLCanvasElement} */
function labelled(canvas) {
  canvas.className = "pixels";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Your picture, its centre square at 32 by 32 pixels");
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @returns {HTMLCanvasElement} */
function copy(canvas) {
  const made = document.createElement("canvas");
  made.width = canvas.width;
  made.height = canvas.height;
  made.className = "pixels";
  made.getContext("2d").drawImage(canvas, 0, 0);
  return made;
}

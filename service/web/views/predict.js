/** A picture, what the network takes it for, and what it finds like it. */

import { write } from "../lib/router.js";
import * as api from "../lib/api.js";
import { announce } from "../widgets/busy_indicator.js";
import { complaint, element } from "../lib/dom.js";
import { buttons, fingers } from "../widgets/upload.js";
import { row } from "../widgets/neighbours.js";
import { persevere } from "../widgets/retry.js";
import { asNetworkSees } from "../lib/preprocess.js";
import { copy, given, kept } from "../widgets/query.js";
import { tile } from "../widgets/tile.js";
import { spoken, verdict } from "../widgets/prediction.js";
import { welcome } from "./welcome.js";

const NEIGHBOURS = 12;
const CLASSES = 10;
const KIN =
  "The nearest at two layers of the network, each with its cosine, 1 at most. Pick one to see why.";

/**
 * @typedef {import("../lib/router.js").Place} Place
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
   * @param {import("../widgets/session_images.js").Album} album
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
    else await welcome(main, this.#model, this.#take, signal);
  }

  /** @param {HTMLElement} main @param {Place} place @param {AbortSignal} signal */
  async #own(main, place, signal) {
    const own = this.#album.get(place.picture);
    if (!own) {
      const regret = "That picture was only in the tab that it was dropped on. Give it again.";
      await welcome(main, this.#model, this.#take, signal, regret);
      return;
    }
    const seen = await asNetworkSees(own.blob);
    if (signal.aborted) return;
    const page = frame(given(own.url, seen), this.#take);
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
      if (answer.item) page.pictures.replaceChildren(kept(answer.item));
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
      page.rows.replaceChildren(element("p", { class: "lead" }, KIN), ...rows.map(({ section }) => section));
      document.title = `${answer.answer} · kindred`;
      announce(`${spoken(answer)} ${answer.similar.conv2.length} similar pictures at each layer.`);
    } catch (error) {
      if (signal.aborted) return;
      page.answer.replaceChildren(complaint(error.message));
      document.title = "kindred";
    }
  }
}

/** @param {HTMLElement[]} figures of the query @param {(picture: Blob) => void} take */
function frame(figures, take) {
  const shown = element("div", { class: "query-pictures" }, ...figures);
  const answer = element("div", { class: "answer" });
  const rows = element("div", { class: "rows" });
  const another = element(
    "div",
    { class: "another" },
    element("p", {}, fingers() ? "Another?" : "Another? Drop or paste it anywhere."),
    buttons(take),
  );
  const whole = element("div", { class: "looking" }, element("div", { class: "query" }, shown, answer, another), rows);
  return { whole, pictures: shown, answer, rows };
}

/** @param {api.Item} item @param {number} top @param {AbortSignal} signal @returns {Promise<api.Said>} */
async function classified(item, top, signal) {
  if (!item.image) return { predictions: [] };
  return api.classify(await api.pixels(item.image, signal), top, signal);
}

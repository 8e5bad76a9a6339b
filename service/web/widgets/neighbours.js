/** A row of the most similar gallery pictures at one layer, and the explanation below it. */

import { write } from "../lib/router.js";
import { element } from "../lib/dom.js";
import { tile } from "./tile.js";
import { explanation } from "./explain.js";
import { figure } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Neighbour} Neighbour */

const SHOWN = 6;

const TITLES = {
  conv2: ["Second block: shapes and parts", "Alike in edges, textures and parts at the same places."],
  logits: ["Output: classes", "Alike where the network rates all of the classes the same way."],
};

/**
 * @param {object} asked
 * @param {string} asked.layer
 * @param {Neighbour[]} asked.neighbours best first
 * @param {string} asked.answer the class that differing neighbours are marked against
 * @param {string[]} asked.classes
 * @param {() => HTMLElement} asked.query draws the query's picture
 * @param {string | null} asked.explained the id of the neighbour that is explained
 * @param {(id: string | null) => void} asked.choose
 * @returns {{ section: HTMLElement, collapse: () => void }}
 */
export function row(asked) {
  const { layer, neighbours, answer } = asked;
  const [title, meaning] = TITLES[layer];
  const heading = `${layer}-title`;
  const same = neighbours.filter(({ label }) => label === answer).length;
  const place = element("div", { class: "explained" });
  const list = element("ul", { class: "kin" });

  /** @param {string | null} id @param {boolean} move whether the focus follows */
  const show = (id, move) => {
    const chosen = neighbours.find((neighbour) => neighbour.id === id);
    for (const button of list.querySelectorAll("button.look")) {
      button.setAttribute("aria-expanded", String(button.dataset.id === chosen?.id));
    }
    place.replaceChildren();
    if (!chosen) return;
    const close = () => {
      show(null, false);
      asked.choose(null);
      list.querySelector(`button[data-id="${CSS.escape(chosen.id)}"]`).focus();
    };
    const panel = explanation({ ...asked, neighbour: chosen, close });
    place.append(panel);
    if (move) {
      panel.querySelector("h3").focus({ preventScroll: true });
      panel.scrollIntoView({ block: "nearest" });
    }
  };

  const pick = (/** @type {string} */ id, /** @type {boolean} */ open) => {
    show(open ? null : id, true);
    asked.choose(open ? null : id);
  };
  const cards = neighbours.map((neighbour) => card(neighbour, answer, pick));
  list.append(...cards.slice(0, SHOWN));
  const rest = cards.slice(SHOWN);
  const more =
    rest.length > 0 &&
    element(
      "button",
      {
        class: "quiet",
        type: "button",
        onclick: () => {
          list.append(...rest);
          more.remove();
          rest[0].querySelector("button").focus();
        },
      },
      `Show ${rest.length} more`,
    );
  if (rest.some((made) => made.dataset.id === asked.explained)) {
    list.append(...rest);
    more.remove();
  }
  show(asked.explained, false);

  const section = element(
    "section",
    { class: "row", "aria-labelledby": heading },
    element(
      "div",
      { class: "row-head" },
      element("h2", { id: heading }, title),
      element(
        "p",
        {},
        `${meaning} `,
        element("strong", {}, `${same} of ${neighbours.length}`),
        ` are labelled ${answer}`,
        ...(same < neighbours.length ? ["; ", differs(), " marks the others."] : ["."]),
      ),
    ),
    list,
    place,
    more,
  );
  return { section, collapse: () => show(null, false) };
}

/**
 * @param {Neighbour} neighbour
 * @param {string} answer
 * @param {(id: string, open: boolean) => void} pick
 * @returns {HTMLElement}
 */
function card({ id, label, score, image }, answer, pick) {
  const other = label !== answer;
  const spoken = `Why ${label}, score ${figure(score)}${other ? `, not ${answer}` : ""}?`;
  const button = element(
    "button",
    {
      class: "look",
      type: "button",
      "data-id": id,
      "aria-label": spoken,
      "aria-expanded": "false",
      onclick: () => pick(id, button.getAttribute("aria-expanded") === "true"),
    },
    tile({ id, label, image }),
    element("span", { class: "why-hint", "aria-hidden": "true" }, "Why?"),
    other && differs(),
  );
  return element(
    "li",
    { class: other ? "card other" : "card", "data-id": id },
    button,
    element(
      "p",
      { class: "card-line" },
      element("span", { class: "card-label" }, label),
      element("span", { class: "card-score" }, figure(score)),
    ),
    element(
      "a",
      { class: "walk", href: write({ view: "look", image: id }), "aria-label": `Look from here: ${label}, ${id}` },
      "Look from here",
    ),
  );
}

/** The mark of a neighbour whose label is another. Readers hear it in the neighbour's name. */
function differs() {
  return element("span", { class: "differs", "aria-hidden": "true" }, "≠");
}

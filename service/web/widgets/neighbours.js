/** The nearest gallery images at one layer, with an explanation below them. */

import { layerCard } from "../lib/api.js";
import { element } from "../lib/dom.js";
import { decimal, fullNameOf, nameOf } from "../lib/format.js";
import { formatRoute } from "../lib/router.js";
import { explanation } from "./explain.js";
import { refineLinks } from "./refine.js";
import { drawnNote, tile } from "./tile.js";

/** @typedef {import("../lib/api.js").Neighbour} Neighbour */

/** Number of neighbours shown at first. */
const SHOWN = 6;

/**
 * Create the section of one layer.
 * @param {object} options
 * @param {string} options.layer
 * @param {Neighbour[]} options.neighbours best first
 * @param {string | null} options.predicted class of the query; neighbours with another label are marked
 * @param {import("../lib/api.js").Model} options.model
 * @param {import("../lib/router.js").Route} options.route
 * @param {import("./reconstructions.js").Source} options.source the query
 * @param {() => HTMLElement} options.drawQuery
 * @param {string | null} options.explained id of the neighbour whose explanation is open
 * @param {(id: string | null) => void} options.onExplain
 * @returns {{ section: HTMLElement, collapse: () => void }}
 */
export function neighbourRow(options) {
  const { layer, model, neighbours, predicted, explained, onExplain, route } = options;
  const { title, description } = layerCard(model, layer);
  const heading = `${layer}-title`;
  const matching = neighbours.filter(({ label }) => label === predicted).length;
  const slot = element("div", { class: "explanation-slot" });
  const list = element("ul", { class: "card-grid" });

  /** @param {string | null} id @param {boolean} focus whether to move the focus to the panel */
  const show = (id, focus) => {
    const neighbour = neighbours.find((one) => one.id === id);
    for (const button of list.querySelectorAll("button.card-action")) {
      button.setAttribute("aria-expanded", String(button.dataset.id === neighbour?.id));
    }
    slot.replaceChildren();
    if (!neighbour) return;
    const close = () => {
      show(null, false);
      onExplain(null);
      list.querySelector(`button[data-id="${CSS.escape(neighbour.id)}"]`).focus();
    };
    const panel = explanation({ ...options, neighbour, close });
    slot.append(panel);
    if (focus) {
      panel.querySelector("h3").focus({ preventScroll: true });
      panel.scrollIntoView({ block: "nearest" });
    }
  };

  const toggle = (/** @type {string} */ id, /** @type {boolean} */ open) => {
    show(open ? null : id, true);
    onExplain(open ? null : id);
  };
  const cards = neighbours.map((neighbour) => neighbourCard(neighbour, predicted, toggle, route));
  const rest = cards.splice(SHOWN);
  list.append(...cards);
  const more =
    rest.length > 0 &&
    element(
      "button",
      {
        class: "link-button",
        type: "button",
        onclick: () => {
          list.append(...rest);
          more.remove();
          rest[0].querySelector("button").focus();
        },
      },
      `Show ${rest.length} more`,
    );
  if (rest.some((card) => card.dataset.id === explained)) {
    list.append(...rest);
    more.remove();
  }
  show(explained, false);

  const section = element(
    "section",
    { class: "row", "data-layer": layer, "aria-labelledby": heading },
    element(
      "div",
      { class: "row-head" },
      element("div", { class: "row-title" }, element("h2", { id: heading }, title), element("code", {}, layer)),
      element(
        "p",
        {},
        `${description} `,
        ...(predicted === null ? [] : [element("strong", {}, `${matching} of ${neighbours.length}`), ` are labelled ${predicted}`]),
        ...(predicted === null ? [] : matching < neighbours.length ? ["; ", mismatchMark(), " marks the others."] : ["."]),
      ),
    ),
    list,
    slot,
    more,
  );
  return { section, collapse: () => show(null, false) };
}

/**
 * Create the card of one neighbour.
 * @param {Neighbour} neighbour
 * @param {string | null} predicted class of the query
 * @param {(id: string, open: boolean) => void} onToggle
 * @param {import("../lib/router.js").Route} route of the search
 * @returns {HTMLElement}
 */
function neighbourCard(neighbour, predicted, onToggle, route) {
  const { id, label, score } = neighbour;
  const mismatch = predicted !== null && label !== predicted;
  const name = `Why ${nameOf(neighbour)}, score ${decimal(score)}${mismatch ? `, not ${predicted}` : ""}?`;
  const button = element(
    "button",
    {
      class: "card-action",
      type: "button",
      "data-id": id,
      "aria-label": name,
      "aria-expanded": "false",
      onclick: () => onToggle(id, button.getAttribute("aria-expanded") === "true"),
    },
    tile(neighbour),
    element("span", { class: "card-hint", "aria-hidden": "true" }, "Why?"),
  );
  return element(
    "li",
    { class: mismatch ? "card mismatch" : "card", "data-id": id },
    button,
    element(
      "p",
      { class: "card-line" },
      mismatch && mismatchMark(),
      element("span", { class: "card-label", title: nameOf(neighbour) }, nameOf(neighbour)),
      element("span", { class: "card-score" }, decimal(score)),
    ),
    drawnNote(neighbour),
    element("a", { class: "find-similar", href: formatRoute({ view: "predict", image: id }), "aria-label": `Find similar: ${fullNameOf(neighbour)}` }, "Find similar"),
    refineLinks(route, neighbour),
  );
}

/** Mark a neighbour with another label. Screen readers hear it in the neighbour's name instead. */
function mismatchMark() {
  return element("span", { class: "mismatch-mark", "aria-hidden": "true" }, "≠");
}

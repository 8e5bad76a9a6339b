/** A table that sorts by any of its columns. */

import { element } from "../lib/dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [group] a heading over neighbouring columns
 * @property {(row: T) => string | number | null} value to sort by; null goes last
 * @property {(row: T) => Node | string} [show] the value itself where there is none
 * @property {boolean} [number]
 */

/**
 * @template T
 * @param {string} caption
 * @param {Column<T>[]} columns the first one names the row
 * @param {T[]} rows
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows) {
  const body = element("tbody");
  const heads = columns.map((column, index) => {
    const spoken = column.group ? `${column.group}, ${column.title}` : null;
    const sorter = element("button", { type: "button", "aria-label": spoken, onclick: () => sort(index) }, column.title);
    return element("th", { scope: "col", class: column.number ? "number" : null }, sorter);
  });

  /** @param {T[]} ordered */
  const fill = (ordered) => body.replaceChildren(...ordered.map((row) => line(columns, row)));

  /** @param {number} index the same column again turns the order round */
  const sort = (index) => {
    const down = heads[index].getAttribute("aria-sort") === "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
    const { value } = columns[index];
    const known = rows.filter((row) => value(row) !== null);
    known.sort((a, b) => order(value(a), value(b)) * (down ? -1 : 1));
    fill([...known, ...rows.filter((row) => value(row) === null)]);
  };

  fill(rows);
  return element(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", { class: "unseen" }, caption),
      element("thead", {}, columns.some(({ group }) => group) && groups(columns), element("tr", {}, ...heads)),
      body,
    ),
  );
}

/** @template T @param {Column<T>[]} columns @returns {HTMLElement} */
function groups(columns) {
  const cells = [];
  for (const { group } of columns) {
    const last = cells.at(-1);
    if (group && last?.textContent === group) last.setAttribute("colspan", String(Number(last.getAttribute("colspan")) + 1));
    else if (group) cells.push(element("th", { scope: "colgroup", colspan: 1 }, group));
    else cells.push(element("td"));
  }
  return element("tr", { class: "groups" }, ...cells);
}

/** @template T @param {Column<T>[]} columns @param {T} row @returns {HTMLElement} */
function line(columns, row) {
  const cells = columns.map(({ value, show, number }, index) =>
    element(
      index === 0 ? "th" : "td",
      { scope: index === 0 ? "row" : null, class: number ? "number" : null },
      show ? show(row) : String(value(row)),
    ),
  );
  return element("tr", {}, ...cells);
}

/** @param {string | number} a @param {string | number} b @returns {number} */
function order(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

/** A table that sorts by any of its columns. */

import { element } from "../lib/dom.js";
import { saveButtons, saveCsv } from "../lib/save.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [group] heading above neighbouring columns
 * @property {(row: T) => string | number | null} value sort key; null sorts last
 * @property {(row: T) => Node | string} [show] cell content; the value by default
 * @property {boolean} [number]
 */

/**
 * Create a sortable table.
 * @template T
 * @param {string} caption
 * @param {Column<T>[]} columns the first one holds the row headers
 * @param {T[]} rows
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows) {
  const body = element("tbody");
  const headers = columns.map((column, index) => {
    const name = column.group ? `${column.group}, ${column.title}` : null;
    const button = element("button", { type: "button", "aria-label": name, onclick: () => sort(index) }, column.title);
    return element("th", { scope: "col", class: column.number ? "number" : null }, button);
  });

  /** @param {T[]} sorted */
  const fill = (sorted) => body.replaceChildren(...sorted.map((row) => tableRow(columns, row)));

  /** @param {number} index sorting by the same column again reverses the order */
  const sort = (index) => {
    const descending = headers[index].getAttribute("aria-sort") === "ascending";
    headers.forEach((header) => header.removeAttribute("aria-sort"));
    headers[index].setAttribute("aria-sort", descending ? "descending" : "ascending");
    const { value } = columns[index];
    const known = rows.filter((row) => value(row) !== null);
    known.sort((a, b) => compare(value(a), value(b)) * (descending ? -1 : 1));
    fill([...known, ...rows.filter((row) => value(row) === null)]);
  };

  fill(rows);
  const titles = columns.map(({ group, title }) => (group ? `${group}, ${title}` : title));
  const cell = (/** @type {Column<T>} */ { value, show, number }, /** @type {T} */ row) => (show && !number && typeof value(row) === "number" ? show(row) : value(row));
  const save = () => saveCsv([titles, ...rows.map((row) => columns.map((column) => cell(column, row)))], `kindred-${caption.split(":")[0].toLowerCase().replaceAll(" ", "-")}`);
  const scrolled = element(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", { class: "visually-hidden" }, caption),
      element("thead", {}, columns.some(({ group }) => group) && groupHeaders(columns), element("tr", {}, ...headers)),
      body,
    ),
  );
  return element("div", {}, scrolled, saveButtons({ CSV: save }, `the table “${caption}”`));
}

/** @template T @param {Column<T>[]} columns @returns {HTMLElement} */
function groupHeaders(columns) {
  const cells = [];
  for (const { group } of columns) {
    const last = cells.at(-1);
    if (group && last?.textContent === group) last.setAttribute("colspan", String(Number(last.getAttribute("colspan")) + 1));
    else if (group) cells.push(element("th", { scope: "colgroup", colspan: 1 }, group));
    else cells.push(element("td"));
  }
  return element("tr", { class: "column-groups" }, ...cells);
}

/** @template T @param {Column<T>[]} columns @param {T} row @returns {HTMLElement} */
function tableRow(columns, row) {
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
function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

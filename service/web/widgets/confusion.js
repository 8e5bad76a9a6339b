/** The confusion matrix: what each class was taken for, each count a way to such pictures. */

import { write } from "../lib/router.js";
import { element } from "../lib/dom.js";
import { rove } from "./roving_tabindex.js";

/**
 * @param {number[][]} matrix of counts; rows are true classes, columns what they were taken for
 * @param {string[]} classes
 * @returns {HTMLElement}
 */
export function confusion(matrix, classes) {
  const totals = matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
  const share = (/** @type {number} */ row, /** @type {number} */ column) => matrix[row][column] / Math.max(totals[row], 1);
  const worst = Math.max(...matrix.flatMap((row, y) => row.map((_, x) => (x === y ? 0 : share(y, x)))), Number.MIN_VALUE);
  const links = classes.map((label, y) =>
    classes.map((predicted, x) =>
      element(
        "a",
        {
          href: write({ view: "gallery", label, predicted }),
          tabindex: x === 0 && y === 0 ? 0 : -1,
          "aria-label": `${matrix[y][x]} ${label}, taken for ${predicted}`,
        },
        String(matrix[y][x]),
      ),
    ),
  );
  const rows = links.map((row, y) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, classes[y]),
      ...row.map((link, x) =>
        element(
          "td",
          { class: x === y ? "hit" : matrix[y][x] === 0 ? "none" : null, style: { "--share": x === y ? 0 : share(y, x) / worst } },
          link,
        ),
      ),
    ),
  );
  const caption = "Confusion matrix: rows are true classes, columns what they were taken for";
  const grid = element(
    "table",
    { role: "grid", "aria-label": caption },
    element(
      "thead",
      {},
      element(
        "tr",
        { class: "groups" },
        element("th", { scope: "col", rowspan: 2 }, "True class"),
        element("th", { scope: "colgroup", colspan: classes.length }, "Taken for"),
      ),
      element("tr", {}, ...classes.map((name) => element("th", { scope: "col", class: "number" }, name))),
    ),
    element("tbody", {}, ...rows),
  );
  rove(grid, () => links);
  return element("div", { class: "table confusion", role: "region", "aria-label": "Confusion matrix" }, grid);
}

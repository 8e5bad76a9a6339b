/** The confusion matrix, in which every count links to the images behind it. */

import { element } from "../lib/dom.js";
import { formatRoute } from "../lib/router.js";
import { rovingTabindex } from "./roving_tabindex.js";

/**
 * Show a confusion matrix.
 * @param {number[][]} matrix counts; rows are true classes, columns are predicted classes
 * @param {string[]} classes
 * @returns {HTMLElement}
 */
export function confusionMatrix(matrix, classes) {
  const totals = matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
  const share = (/** @type {number} */ row, /** @type {number} */ column) => matrix[row][column] / Math.max(totals[row], 1);
  const worst = Math.max(...matrix.flatMap((row, y) => row.map((_, x) => (x === y ? 0 : share(y, x)))), Number.MIN_VALUE);
  const links = classes.map((label, y) =>
    classes.map((predicted, x) =>
      element(
        "a",
        {
          href: formatRoute({ view: "gallery", label, predicted }),
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
          { class: x === y ? "correct" : matrix[y][x] === 0 ? "zero" : null, style: { "--share": x === y ? 0 : share(y, x) / worst } },
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
        { class: "column-groups" },
        element("th", { scope: "col", rowspan: 2 }, "True class"),
        element("th", { scope: "colgroup", colspan: classes.length }, "Taken for"),
      ),
      element("tr", {}, ...classes.map((name) => element("th", { scope: "col", class: "number" }, name))),
    ),
    element("tbody", {}, ...rows),
  );
  rovingTabindex(grid, () => links);
  return element("div", { class: "table confusion", role: "region", "aria-label": "Confusion matrix" }, grid);
}

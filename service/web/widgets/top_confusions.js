/** What is most often taken for what, where the classes are too many for a matrix. */

import { write } from "../lib/router.js";
import { element } from "../lib/dom.js";
import { table } from "./table.js";

/** More than fit beside each other. */
export const MANY = 40;
const SHOWN = 30;

/**
 * @param {import("../lib/api.js").Evaluation} test
 * @param {string[]} classes
 * @returns {HTMLElement}
 */
export function mistakes({ confusion_matrix: matrix, confusions = [] }, classes) {
  const cells = matrix ? matrix.flatMap((row, y) => row.map((count, x) => [y, x, count])) : confusions;
  const rows = cells
    .filter(([y, x, count]) => y !== x && count)
    .sort((a, b) => b[2] - a[2])
    .slice(0, SHOWN)
    .map(([y, x, count]) => ({ label: classes[y], predicted: classes[x], count }));
  return table("What is most often taken for what", [
    { title: "True class", value: ({ label }) => label },
    { title: "Taken for", value: ({ predicted }) => predicted },
    {
      title: "Pictures",
      number: true,
      value: ({ count }) => count,
      show: ({ label, predicted, count }) => element("a", { href: write({ view: "gallery", label, predicted }) }, String(count)),
    },
  ], rows);
}

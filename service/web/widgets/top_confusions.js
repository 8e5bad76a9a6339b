/** The most frequent confusions, for models with too many classes for a matrix. */

import { element } from "../lib/dom.js";
import { formatRoute } from "../lib/router.js";
import { table } from "./table.js";

const SHOWN = 30;

/**
 * List the most frequent confusions, each linked to the images behind it.
 * @param {import("../lib/api.js").Evaluation} test
 * @param {string[]} classes
 * @returns {HTMLElement}
 */
export function topConfusions({ confusion_matrix: matrix, confusions = [] }, classes) {
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
      title: "Images",
      number: true,
      value: ({ count }) => count,
      show: ({ label, predicted, count }) => element("a", { href: formatRoute({ view: "gallery", label, predicted }) }, String(count)),
    },
  ], rows);
}

/** The foot of the page: which network this is, how good it is, what it cannot do. */

import { element } from "../lib/dom.js";
import { counted, percent } from "../lib/format.js";

/**
 * @param {HTMLElement} foot
 * @param {Promise<import("../lib/api.js").Model>} asked what the service says of its model
 */
export async function about(foot, asked) {
  const calls = element("p", {}, element("a", { href: "/docs" }, "The service’s calls"));
  try {
    const { name, version, classes, metrics, gallery } = await asked;
    const accuracy = metrics.test_accuracy;
    const measured =
      typeof accuracy === "number"
        ? ` It names ${percent(accuracy)} of ${counted(metrics.test_count, "test picture")} correctly.`
        : "";
    foot.replaceChildren(
      element("p", {}, element("strong", {}, name), ` ${version}, with ${counted(gallery.size, "gallery picture")}.${measured}`),
      element(
        "p",
        {},
        `It knows ${counted(classes.length, "class", "classes")} and nothing else, and sees the centre square of a picture at 32 × 32. It is for study, not for decisions about people.`,
      ),
      calls,
    );
  } catch (error) {
    foot.replaceChildren(element("p", {}, error.message), calls);
  }
}

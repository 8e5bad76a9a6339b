/** The page footer: which model is served, how accurate it is and what its limits are. */

import { element } from "../lib/dom.js";
import { percent, plural } from "../lib/format.js";

/**
 * Fill the footer once the model's metadata arrives.
 * @param {HTMLElement} footer
 * @param {Promise<import("../lib/api.js").Model>} model
 */
export async function about(footer, model) {
  const reference = element("p", {}, element("a", { href: "docs" }, "API reference"));
  try {
    const { name, version, classes, metrics, gallery, input } = await model;
    const accuracy = metrics?.test_accuracy;
    const known = classes.length > 0 ? `${plural(classes.length, "class", "classes")} and nothing else` : "no classes";
    const measured =
      typeof accuracy === "number"
        ? ` It names ${percent(accuracy)} of ${plural(metrics.test_count, "test image")} correctly.`
        : "";
    footer.replaceChildren(
      element("p", {}, element("strong", {}, name), ` ${version}, with ${plural(gallery.size, "gallery image")}.${measured}`),
      element(
        "p",
        {},
        `It knows ${known}, and sees the centre square of an image at ${input.side} × ${input.side}. It is for study, not for decisions about people.`,
      ),
      reference,
    );
  } catch (error) {
    footer.replaceChildren(element("p", {}, error.message), reference);
  }
}

/** What each layer keeps of an image: a strip of pictures drawn from its vectors. */

import * as api from "../lib/api.js";
import { element } from "../lib/dom.js";
import { decimal } from "../lib/format.js";
import { picture } from "./tile.js";

/** Pictures of uploaded images by layer, so that each is asked for once. */
/** @type {WeakMap<Blob, Map<string, Promise<string>>>} */
const drawn = new WeakMap();

/** @typedef {{ blob: Blob } | { item: import("./tile.js").Item }} Source */

/**
 * Create the strip, or nothing if the bundle has no decoders.
 * @param {api.Model} model @param {Source} source @param {string} [name] whose picture it is
 * @returns {HTMLElement | null}
 */
export function reconstructions(model, source, name = "What each layer keeps") {
  const layers = Object.entries(model.reconstruction?.layers ?? {}).filter(
    ([layer]) => "blob" in source || source.item.image || api.searchable(model).includes(layer),
  );
  if (layers.length === 0) return null;
  const figures = layers.map(([layer, { psnr }]) => {
    const blank = () => element("span", { class: "pixels photo" });
    const image = "blob" in source ? uploaded(source.blob, layer, blank) : picture(api.reconstructionPath(source.item.id, layer), true, blank);
    return element("li", { title: `${decimal(psnr, 1)} dB on held-out images` }, image, element("span", {}, layer));
  });
  return element("figure", { class: "reconstructions" }, element("figcaption", {}, name), element("ol", {}, ...figures));
}

/** @param {Blob} blob @param {string} layer @param {() => HTMLElement} blank */
function uploaded(blob, layer, blank) {
  if (!drawn.has(blob)) drawn.set(blob, new Map());
  const byLayer = drawn.get(blob);
  if (!byLayer.has(layer)) byLayer.set(layer, api.reconstruct(blob, layer).then((png) => URL.createObjectURL(png)));
  const waiting = blank();
  byLayer.get(layer).then(
    (url) => waiting.replaceWith(element("img", { class: "pixels photo", alt: "", src: url })),
    () => byLayer.delete(layer),
  );
  return waiting;
}

/** What the address says: every view has one, so that it can be shared and gone back to. */

/**
 * @typedef {{ layer: string, id: string }} Why
 * @typedef {object} Place
 * @property {"look" | "gallery" | "experiments"} view
 * @property {string} [image] a gallery picture to look from
 * @property {string} [picture] a picture of the visitor's own, known to this tab only
 * @property {Why} [why] the neighbour that is explained
 * @property {string} [label]
 * @property {string} [predicted] what the network takes the pictures for
 * @property {string} [cursor]
 * @property {string[]} [curves] the experiments whose curves are shown
 */

/** @param {string} hash @returns {Place} */
export function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, name] = path.split("/").map(decode);
  const asked = new URLSearchParams(query);
  const why = asked.get("why")?.split("/");
  const explained = why?.length === 2 ? { why: { layer: why[0], id: decode(why[1]) } } : {};
  if (view === "image" && name) return { view: "look", image: name, ...explained };
  if (view === "picture" && name) return { view: "look", picture: name, ...explained };
  if (view === "experiments") return { view, curves: asked.get("curves")?.split(",") };
  if (view === "gallery") {
    return {
      view,
      label: asked.get("label") ?? undefined,
      predicted: asked.get("predicted") ?? undefined,
      cursor: asked.get("cursor") ?? undefined,
    };
  }
  return { view: "look" };
}

/** @param {Place} place @returns {string} */
export function write(place) {
  const asked = new URLSearchParams();
  if (place.label) asked.set("label", place.label);
  if (place.predicted) asked.set("predicted", place.predicted);
  if (place.cursor) asked.set("cursor", place.cursor);
  if (place.curves) asked.set("curves", place.curves.join(","));
  if (place.why) asked.set("why", `${place.why.layer}/${encodeURIComponent(place.why.id)}`);
  const query = asked.size > 0 ? `?${asked}` : "";
  if (place.view !== "look") return `#/${place.view}${query}`;
  if (place.image) return `#/image/${encodeURIComponent(place.image)}${query}`;
  if (place.picture) return `#/picture/${encodeURIComponent(place.picture)}${query}`;
  return "#/";
}

/** @param {string} text @returns {string} as it is where it is not well encoded */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

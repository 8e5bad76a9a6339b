/** Maps the URL hash to a route and back, so that every view can be shared and revisited. */

/**
 * @typedef {{ layer: string, id: string }} ExplainedNeighbour
 * @typedef {object} Route
 * @property {"predict" | "gallery" | "map" | "experiments"} view
 * @property {string} [image] id of a gallery image to use as the query
 * @property {string} [upload] name of an uploaded image, known to this tab only
 * @property {ExplainedNeighbour} [explain] neighbour whose explanation is open
 * @property {string[]} [layers] where neighbours are searched
 * @property {string[]} [more] ids of images to be like, in addition to the query
 * @property {string[]} [less] ids of images to be unlike
 * @property {string} [show] part of the gallery: "duplicates" or "doubtful"
 * @property {string} [label]
 * @property {string} [predicted] class that the model predicts for the images
 * @property {string} [source] "added" or "bundle"
 * @property {string} [cursor]
 * @property {string} [threshold] least cosine of near-duplicates
 * @property {string} [layer] of the map, or of near-duplicates
 * @property {string} [at] part of the map: its centre and its scale
 * @property {string[]} [curves] experiments whose learning curves are shown
 */

/** Parameters of the address that are texts, and those that are lists. Their names are stable, because people bookmark them. */
const TEXTS = ["show", "label", "predicted", "source", "cursor", "threshold", "layer", "at"];
const LISTS = ["layers", "more", "less", "curves"];

/**
 * Parse a URL hash. An unknown path leads to the predict view.
 * @param {string} hash @returns {Route}
 */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [first, name] = path.split("/").map(decode);
  const params = new URLSearchParams(query);
  /** @type {Route} */
  const route = { view: first === "gallery" || first === "map" || first === "experiments" ? first : "predict" };
  for (const key of TEXTS) if (params.has(key)) route[key] = params.get(key);
  for (const key of LISTS) if (params.has(key)) route[key] = params.get(key).split(",").filter(Boolean).map(decode);
  const [layer, id, ...rest] = params.get("why")?.split("/") ?? [];
  if (id !== undefined && rest.length === 0) route.explain = { layer, id: decode(id) };
  if (route.view === "map") Object.assign(route, defined({ image: params.get("image"), upload: params.get("picture") }));
  else if (name && first === "image") route.image = name;
  else if (name && first === "picture") route.upload = name;
  return route;
}

/**
 * Format a route as a URL hash.
 * @param {Route} route @returns {string}
 */
export function formatRoute(route) {
  const params = new URLSearchParams();
  for (const key of TEXTS) if (route[key]) params.set(key, route[key]);
  for (const key of LISTS) if (route[key] && (key === "curves" || route[key].length > 0)) params.set(key, route[key].map(encodeURIComponent).join(","));
  if (route.explain) params.set("why", `${route.explain.layer}/${encodeURIComponent(route.explain.id)}`);
  if (route.view === "map" && route.image) params.set("image", route.image);
  if (route.view === "map" && route.upload) params.set("picture", route.upload);
  const query = params.size > 0 ? `?${params}` : "";
  if (route.view !== "predict") return `#/${route.view}${query}`;
  if (route.image) return `#/image/${encodeURIComponent(route.image)}${query}`;
  if (route.upload) return `#/picture/${encodeURIComponent(route.upload)}${query}`;
  return "#/";
}

/** @param {Record<string, string | null>} fields @returns {Record<string, string>} those that are set */
const defined = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value));

/**
 * Decode a URL component. Return malformed text unchanged.
 * @param {string} text @returns {string}
 */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

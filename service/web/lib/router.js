/** Maps the URL hash to a route and back, so that every view can be shared and revisited. */

/**
 * @typedef {{ layer: string, id: string }} ExplainedNeighbour
 * @typedef {object} Route
 * @property {"predict" | "gallery" | "experiments"} view
 * @property {string} [image] id of a gallery image to use as the query
 * @property {string} [upload] name of an uploaded image, known to this tab only
 * @property {ExplainedNeighbour} [explain] neighbour whose explanation is open
 * @property {string} [label]
 * @property {string} [predicted] class that the model predicts for the images
 * @property {string} [cursor]
 * @property {string[]} [curves] experiments whose learning curves are shown
 */

/**
 * Parse a URL hash. An unknown path leads to the predict view.
 * @param {string} hash @returns {Route}
 */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, name] = path.split("/").map(decode);
  const params = new URLSearchParams(query);
  const [layer, id, ...rest] = params.get("why")?.split("/") ?? [];
  const explain = id !== undefined && rest.length === 0 ? { explain: { layer, id: decode(id) } } : {};
  if (view === "image" && name) return { view: "predict", image: name, ...explain };
  if (view === "picture" && name) return { view: "predict", upload: name, ...explain };
  if (view === "experiments") return { view, curves: params.get("curves")?.split(",") };
  if (view === "gallery") {
    return {
      view,
      label: params.get("label") ?? undefined,
      predicted: params.get("predicted") ?? undefined,
      cursor: params.get("cursor") ?? undefined,
    };
  }
  return { view: "predict" };
}

/**
 * Format a route as a URL hash. The names in it are stable, because people bookmark them.
 * @param {Route} route @returns {string}
 */
export function formatRoute(route) {
  const params = new URLSearchParams();
  if (route.label) params.set("label", route.label);
  if (route.predicted) params.set("predicted", route.predicted);
  if (route.cursor) params.set("cursor", route.cursor);
  if (route.curves) params.set("curves", route.curves.join(","));
  if (route.explain) params.set("why", `${route.explain.layer}/${encodeURIComponent(route.explain.id)}`);
  const query = params.size > 0 ? `?${params}` : "";
  if (route.view !== "predict") return `#/${route.view}${query}`;
  if (route.image) return `#/image/${encodeURIComponent(route.image)}${query}`;
  if (route.upload) return `#/picture/${encodeURIComponent(route.upload)}${query}`;
  return "#/";
}

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

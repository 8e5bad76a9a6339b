/** Pointer, wheel and keyboard on the map: pan, zoom, point, choose, and draw a lasso. */

const STEP = 60;
const ZOOM = 1.3;
/** Pixels that a pointer may move in a click. */
const CLICK = 6;

/**
 * @typedef {object} Actions
 * @property {() => boolean} isLasso whether a drag draws a lasso
 * @property {(points: [number, number][], done: boolean) => void} onLasso in pixels
 * @property {(left: number, top: number) => void} onPoint the pointer moved
 * @property {() => void} onLeave
 * @property {(left: number, top: number) => void} onPick a click
 * @property {() => void} onChoose Enter was pressed
 * @property {(steps: number) => void} onLayer a key asks for another layer
 * @property {() => void} onChange the viewport changed
 */

/**
 * Listen on an element.
 * @param {HTMLElement} target @param {import("./viewport.js").Viewport} viewport @param {Actions} actions
 */
export function listen(target, viewport, actions) {
  /** @type {Map<number, [number, number]>} */
  const pointers = new Map();
  /** @type {[number, number][] | null} */
  let lasso = null;
  let moved = 0;
  const position = (/** @type {PointerEvent | WheelEvent} */ event) => {
    const box = target.getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - box.left, event.clientY - box.top]);
  };
  const spread = () => {
    const [[ax, ay], [bx, by]] = [...pointers.values()];
    return { distance: Math.hypot(ax - bx, ay - by), x: (ax + bx) / 2, y: (ay + by) / 2 };
  };

  target.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || /** @type {Element} */ (event.target).closest("button, a")) return;
    target.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, position(event));
    moved = pointers.size > 1 ? CLICK + 1 : 0;
    lasso = pointers.size === 1 && (event.shiftKey || actions.isLasso()) ? [position(event)] : null;
  });
  target.addEventListener("pointermove", (event) => {
    const [x, y] = position(event);
    const before = pointers.get(event.pointerId);
    if (!before) return actions.onPoint(x, y);
    const old = pointers.size === 2 && spread();
    pointers.set(event.pointerId, [x, y]);
    moved += Math.hypot(x - before[0], y - before[1]);
    if (lasso) {
      lasso.push([x, y]);
      actions.onLasso(lasso, false);
    } else if (old) {
      const now = spread();
      viewport.pan(now.x - old.x, now.y - old.y);
      viewport.zoom(now.distance / Math.max(old.distance, 1), now.x, now.y);
      actions.onChange();
    } else if (moved > CLICK) {
      viewport.pan(x - before[0], y - before[1]);
      actions.onChange();
    }
  });
  const end = (/** @type {PointerEvent} */ event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (lasso) actions.onLasso(moved > CLICK ? lasso : [], true);
    else if (moved <= CLICK && event.type === "pointerup") actions.onPick(...position(event));
    lasso = null;
  };
  target.addEventListener("pointerup", end);
  target.addEventListener("pointercancel", end);
  target.addEventListener("pointerleave", () => actions.onLeave());
  target.addEventListener("dblclick", (event) => {
    viewport.zoom(2, ...position(event));
    actions.onChange();
  });
  target.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      viewport.zoom(Math.exp(-event.deltaY * (event.deltaMode === 0 ? 0.0018 : 0.05)), ...position(event));
      actions.onChange();
    },
    { passive: false },
  );
  target.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== target) return;
    const keys = {
      ArrowLeft: () => viewport.pan(STEP, 0),
      ArrowRight: () => viewport.pan(-STEP, 0),
      ArrowUp: () => viewport.pan(0, STEP),
      ArrowDown: () => viewport.pan(0, -STEP),
      "+": () => viewport.zoom(ZOOM),
      "=": () => viewport.zoom(ZOOM),
      "-": () => viewport.zoom(1 / ZOOM),
      0: () => viewport.reset(),
      PageUp: () => actions.onLayer(-1),
      PageDown: () => actions.onLayer(1),
      Enter: () => actions.onChoose(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    actions.onChange();
  });
}

/** One tab stop for many things: arrow keys go from one to the next. */

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/**
 * @param {Element} around all of them
 * @param {() => (HTMLElement | SVGElement)[][]} rows as they stand; one of them is in the tab order
 */
export function rove(around, rows) {
  around.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    // With a modifier they are the browser's: Alt and left goes back.
    const move = !event.altKey && !event.ctrlKey && !event.metaKey && MOVES[event.key];
    const at = rows();
    const row = at.findIndex((elements) => elements.includes(event.target));
    if (!move || row < 0) return;
    event.preventDefault();
    const beside = at[row + move[0]] ?? [];
    // Rows may differ in length: from the end of a long one, up or down leads to the end of a short.
    const next = beside[Math.min(at[row].indexOf(event.target) + move[1], beside.length - 1)];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

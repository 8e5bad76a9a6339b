/** Makes a grid of elements one tab stop in which the arrow keys move the focus. */

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/**
 * Move the focus with the arrow keys.
 * @param {Element} container
 * @param {() => (HTMLElement | SVGElement)[][]} getRows current rows; one element has tabindex 0
 */
export function rovingTabindex(container, getRows) {
  container.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    // Leave arrow keys with a modifier to the browser: Alt+Left goes back.
    const move = !event.altKey && !event.ctrlKey && !event.metaKey && MOVES[event.key];
    const rows = getRows();
    const index = rows.findIndex((elements) => elements.includes(event.target));
    if (!move || index < 0) return;
    event.preventDefault();
    const target = rows[index + move[0]] ?? [];
    // Clamp the column, because rows may differ in length.
    const next = target[Math.min(rows[index].indexOf(event.target) + move[1], target.length - 1)];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

/** Shows that work is in progress and announces changes to screen readers. */

/** Delay before the indicator appears, so that fast responses do not flicker. */
const DELAY_MS = 100;

/** Number of operations in progress. Views overlap when one is left while it loads. */
let pending = 0;

/**
 * Show the indicator until an operation settles.
 * @template T
 * @param {Promise<T>} operation
 * @returns {Promise<T>}
 */
export async function whileBusy(operation) {
  const indicator = document.getElementById("busy");
  const main = document.getElementById("main");
  const timer = setTimeout(() => {
    indicator.hidden = false;
    announce("Working…");
  }, DELAY_MS);
  pending += 1;
  main.setAttribute("aria-busy", "true");
  try {
    return await operation;
  } finally {
    clearTimeout(timer);
    pending -= 1;
    if (pending === 0) {
      indicator.hidden = true;
      main.setAttribute("aria-busy", "false");
    }
  }
}

/** @param {string} text read out by screen readers */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

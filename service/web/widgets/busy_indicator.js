/** Saying that work is under way, as soon as it takes longer than a blink. */

const BLINK_MS = 100;

/** How many answers are waited for: a view that is left does not end the work of the next. */
let waiting = 0;

/**
 * @template T
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export async function whileBusy(work) {
  const sign = document.getElementById("busy");
  const main = document.getElementById("main");
  const timer = setTimeout(() => {
    sign.hidden = false;
    announce("Working…");
  }, BLINK_MS);
  waiting += 1;
  main.setAttribute("aria-busy", "true");
  try {
    return await work;
  } finally {
    clearTimeout(timer);
    waiting -= 1;
    if (waiting === 0) {
      sign.hidden = true;
      main.setAttribute("aria-busy", "false");
    }
  }
}

/** @param {string} text for those who listen to the page */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

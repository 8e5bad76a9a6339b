/** Says for people what went wrong and what to do. Other problems say it themselves. */

const SAYINGS = {
  "not-an-image": "This file is no picture that can be read here. Try a JPEG or a PNG.",
  "malformed-body": "This picture is damaged, or was cut off on its way. Try another copy of it.",
  "too-large": "This is too large. Try a smaller picture, or fewer at a time.",
  "queue-full": "Many people search just now.",
  unavailable: "The service is starting, or stops for a moment.",
  "deadline-passed": "The service did not answer in time.",
  "inference-failed": "The network could not work on this picture. Try another one.",
  internal: "Something went wrong in the service. Trying once more may help; its log has the reason.",
  forbidden: "This changes the gallery, which needs an admin key.",
  storage: "The disk of the service is full, so nothing was changed.",
};
export const UNREACHABLE = "The service does not answer. Is it still running, and are you online?";

/** @param {{ type?: string, detail?: string, title?: string }} problem @param {number} status @returns {string} */
export function saying(problem, status) {
  const known = SAYINGS[problem.type?.split(":").at(-1)];
  const gateway = [502, 503, 504].includes(status) && "The service cannot be reached just now.";
  return known ?? problem.detail ?? problem.title ?? (gateway || `The service cannot answer this (${status}).`);
}

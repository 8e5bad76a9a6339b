/** The ways in: drop, paste, choose a file, take a photo. Hands over a picture, knows no answer. */

import * as camera from "./camera.js";
import { complaint, element } from "../lib/dom.js";

/** @returns {boolean} whether fingers point here, which drop and paste nothing */
export const fingers = () => matchMedia("(pointer: coarse)").matches;

/**
 * Buttons to choose a file or take a photo. Where fingers point, the device's own camera app does
 * that better than a page can.
 * @param {(picture: Blob) => void} take
 * @returns {HTMLElement}
 */
export function buttons(take) {
  const files = input(take, {});
  const app = fingers() && input(take, { capture: "environment" });
  const photograph = async () => {
    whole.querySelector(".complaint")?.remove();
    try {
      const photo = await camera.photograph();
      if (photo) take(photo);
    } catch (error) {
      refuse(whole, error.message);
    }
  };
  const whole = element(
    "div",
    { class: "ways-in" },
    element("button", { class: "button primary", type: "button", onclick: () => files.click() }, "Choose a picture"),
    (app || camera.available()) &&
      element("button", { class: "button", type: "button", onclick: app ? () => app.click() : photograph }, "Take a photo"),
    files,
    app,
  );
  return whole;
}

/** @param {(picture: Blob) => void} take @param {Record<string, unknown>} extra */
function input(take, extra) {
  const field = element("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    ...extra,
    onchange: () => {
      if (field.files[0]) take(field.files[0]);
      field.value = "";
    },
  });
  return field;
}

/**
 * Dropping and pasting work anywhere on the page.
 * @param {(picture: Blob) => void} take
 * @param {(message: string) => void} refuse
 */
export function listen(take, refuse) {
  const receive = (/** @type {DataTransfer} */ carried) => {
    const files = [...carried.files];
    const picture = files.find((file) => file.type.startsWith("image/")) ?? files[0];
    if (picture) take(picture);
    else refuse("That was not a picture. Save it as a file first, then drop or choose the file.");
  };
  const glow = (/** @type {boolean} */ on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    glow(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) glow(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    glow(false);
    receive(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) receive(event.clipboardData);
  });
}

/** @param {HTMLElement} beside @param {string} message shown next to the ways in */
export function refuse(beside, message) {
  beside.querySelector(".complaint")?.remove();
  beside.append(complaint(message));
}

/** Accepts images by drop, paste, file dialog or camera. */

import { element, errorMessage } from "../lib/dom.js";
import * as camera from "./camera.js";

/** @returns {boolean} true on touch devices, where drop and paste do not work */
export const isTouchDevice = () => matchMedia("(pointer: coarse)").matches;

/**
 * Create buttons to choose files or take a photo. On touch devices the second one opens the
 * device's own camera app, which does that better than a page.
 * @param {(images: Blob[]) => void} onUpload
 * @param {string} [text] of the first button
 * @returns {HTMLElement}
 */
export function uploadButtons(onUpload, text = "Choose an image") {
  const fileInput = imageInput(onUpload, { multiple: true });
  const cameraInput = isTouchDevice() && imageInput(onUpload, { capture: "environment" });
  const takePhoto = async () => {
    buttons.querySelector(".error-message")?.remove();
    try {
      const photo = await camera.takePhoto();
      if (photo) onUpload([photo]);
    } catch (error) {
      showUploadError(buttons, error.message);
    }
  };
  const buttons = element(
    "div",
    { class: "upload-buttons" },
    element("button", { class: "button primary", type: "button", onclick: () => fileInput.click() }, text),
    (cameraInput || camera.isAvailable()) &&
      element("button", { class: "button", type: "button", onclick: cameraInput ? () => cameraInput.click() : takePhoto }, "Take a photo"),
    fileInput,
    cameraInput,
  );
  return buttons;
}

/** @param {(images: Blob[]) => void} onUpload @param {Record<string, unknown>} attributes */
function imageInput(onUpload, attributes) {
  const input = element("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    ...attributes,
    onchange: () => {
      if (input.files.length > 0) onUpload([...input.files]);
      input.value = "";
    },
  });
  return input;
}

/**
 * Accept dropped and pasted images anywhere on the page.
 * @param {(images: Blob[]) => void} onUpload
 * @param {(message: string) => void} onError
 */
export function listenForUploads(onUpload, onError) {
  const receive = (/** @type {DataTransfer} */ transfer) => {
    const files = [...transfer.files];
    const images = files.filter((file) => file.type.startsWith("image/"));
    if (files.length > 0) onUpload(images.length > 0 ? images : files);
    else onError("That was not an image. Save it as a file first, then drop or choose the file.");
  };
  const setDragging = (/** @type {boolean} */ on) => document.body.classList.toggle("dragging", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    setDragging(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) setDragging(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    setDragging(false);
    receive(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) receive(event.clipboardData);
  });
}

/** @param {HTMLElement} container @param {string} message replaces an earlier one */
export function showUploadError(container, message) {
  container.querySelector(".error-message")?.remove();
  container.append(errorMessage(message));
}

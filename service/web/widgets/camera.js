/** This machine's camera: a view of it in a dialog, and a button that takes the picture. */

import { element } from "../lib/dom.js";

/** Pages that come over plain HTTP from elsewhere may not look. @returns {boolean} */
export const available = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * @returns {Promise<Blob | null>} a photo, or null where the visitor has thought better of it
 * @throws {Error} in words, where there is no camera or it may not be used
 */
export async function photograph() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(
      error.name === "NotAllowedError"
        ? "The browser may not use the camera. Allow it for this page, or choose a picture."
        : "No camera could be used here. Choose a picture instead.",
    );
  }
  try {
    return await look(stream);
  } finally {
    stream.getTracks().forEach((track) => track.stop());
  }
}

/** @param {MediaStream} stream @returns {Promise<Blob | null>} */
function look(stream) {
  const video = /** @type {HTMLVideoElement} */ (element("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "What the camera sees" }));
  video.srcObject = stream;
  const shutter = element("button", { class: "button primary", type: "button", disabled: true }, "Take it");
  const leave = element("button", { class: "button", type: "button" }, "Cancel");
  const dialog = /** @type {HTMLDialogElement} */ (
    element(
      "dialog",
      { class: "camera", "aria-label": "Take a photo" },
      element("div", {}, video, element("p", {}, "The network sees this square. Nothing is kept."), element("div", { class: "ways-in" }, shutter, leave)),
    )
  );
  document.body.append(dialog);
  return new Promise((resolve) => {
    video.onloadeddata = () => {
      shutter.disabled = false;
      shutter.focus();
    };
    shutter.onclick = async () => {
      const photo = await frame(video);
      resolve(photo);
      dialog.close();
    };
    leave.onclick = () => dialog.close();
    dialog.onclose = () => {
      dialog.remove();
      resolve(null);
    };
    dialog.showModal();
  });
}

/** @param {HTMLVideoElement} video @returns {Promise<Blob | null>} */
function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/** Takes a photo with this device's camera, in a dialog with a live preview. */

import { element } from "../lib/dom.js";

/** @returns {boolean} false on plain HTTP from another host, where browsers block the camera */
export const isAvailable = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Open the camera and let the visitor take a photo.
 * @returns {Promise<Blob | null>} null if the dialog is cancelled
 * @throws {Error} if there is no camera or permission is denied
 */
export async function takePhoto() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(
      error.name === "NotAllowedError"
        ? "The browser may not use the camera. Allow it for this page, or choose an image."
        : "No camera could be used here. Choose an image instead.",
    );
  }
  try {
    return await showDialog(stream);
  } finally {
    stream.getTracks().forEach((track) => track.stop());
  }
}

/** @param {MediaStream} stream @returns {Promise<Blob | null>} */
function showDialog(stream) {
  const video = /** @type {HTMLVideoElement} */ (element("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "What the camera sees" }));
  video.srcObject = stream;
  const shutter = element("button", { class: "button primary", type: "button", disabled: true }, "Take it");
  const cancel = element("button", { class: "button", type: "button" }, "Cancel");
  const dialog = /** @type {HTMLDialogElement} */ (
    element(
      "dialog",
      { class: "camera", "aria-label": "Take a photo" },
      element("div", {}, video, element("p", {}, "The network sees this square. Nothing is stored."), element("div", { class: "upload-buttons" }, shutter, cancel)),
    )
  );
  document.body.append(dialog);
  return new Promise((resolve) => {
    video.onloadeddata = () => {
      shutter.disabled = false;
      shutter.focus();
    };
    shutter.onclick = async () => {
      const photo = await captureFrame(video);
      resolve(photo);
      dialog.close();
    };
    cancel.onclick = () => dialog.close();
    dialog.onclose = () => {
      dialog.remove();
      resolve(null);
    };
    dialog.showModal();
  });
}

/** @param {HTMLVideoElement} video @returns {Promise<Blob | null>} */
function captureFrame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

"""Images that tests generate: ten classes of coloured stripes, which are easy to learn."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from training.bundle import Bundle
from training.data.preprocessing import Pixels

KINDS = ("amber", "blue", "cyan", "dusk", "ember", "fern", "gold", "haze", "ivory", "jade")


def striped_image(kind: int, seed: int) -> Pixels:
    """Draw a noisy 32 x 32 image; the class sets hue, direction and pitch of its stripes."""
    random = np.random.default_rng((kind, seed))
    rows, columns = np.mgrid[0:32, 0:32]
    along = rows * np.cos(kind) + columns * np.sin(kind)
    wave = np.sin(along * (0.3 + 0.1 * kind) + random.uniform(0, 2 * np.pi))
    hue = 0.5 + 0.5 * np.cos(2 * np.pi * (kind / 10 + np.array([0.0, 1 / 3, 2 / 3])))
    values = 60 + 80 * hue + 50 * wave[..., None] * hue + random.normal(0, 20, (32, 32, 3))
    pixels: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels


def write_folder(folder: Path, per_class: int, kinds: int = 10, partition: str = "train") -> Path:
    """Write an image folder `<partition>/<class>/<number>.png`."""
    for kind, name in enumerate(KINDS[:kinds]):
        directory = folder / partition / name
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            Image.fromarray(striped_image(kind, number)).save(directory / f"{number:05d}.png")
    return folder


def real_data() -> Path | None:
    """Return the path of the real images in `KINDRED_DATA`, if it is set."""
    named = os.environ.get("KINDRED_DATA")
    return Path(named) if named else None


def write_subset(bundle: Bundle, folder: Path, per_class: int) -> Path:
    """Write the first gallery images of each class as an image folder of PNG files."""
    gallery = bundle.gallery
    assert gallery.pixels is not None
    for label, name in enumerate(bundle.manifest.classes):
        directory = folder / "train" / name
        directory.mkdir(parents=True)
        for position in np.flatnonzero(gallery.labels == label)[:per_class]:
            stem = gallery.ids[position].rsplit("-", 1)[-1]
            Image.fromarray(gallery.pixels[position]).save(directory / f"{stem}.png")
    return folder

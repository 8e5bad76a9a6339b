"""Images that tests generate: ten classes of coloured stripes, which are easy to learn."""

import io
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.data import cifar10
from training.data.archive import iter_files
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


@dataclass(frozen=True)
class HeldOut:
    """Real images uint8 [N, 32, 32, 3] and their labels."""

    pixels: Pixels
    labels: list[int]


def read_images(archive: Path, ids: Container[str]) -> dict[str, Pixels]:
    """Read the images of CIFAR-10 with these ids, such as `cifar10-train-00001`, by id."""
    return {
        name: np.asarray(Image.open(io.BytesIO(read())).convert("RGB"))
        for path, read in iter_files(archive)
        if (name := f"cifar10-{path.parts[0]}-{path.stem}") in ids
    }


def write_images(images: HeldOut, folder: Path, per_class: int) -> Path:
    """Write the first images of each class of CIFAR-10 as an image folder of PNG files."""
    for label, name in enumerate(cifar10.CLASSES):
        directory = folder / "train" / name
        directory.mkdir(parents=True)
        for position in np.flatnonzero(np.array(images.labels) == label)[:per_class]:
            Image.fromarray(images.pixels[position]).save(directory / f"{position:05d}.png")
    return folder

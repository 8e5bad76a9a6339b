"""Large photos: the time of a decode that the JPEG decoder reduces, and whether the class stays.

`python -m benchmarks.serving.photos --bundle BUNDLE --data DATA` enlarges photos of the data to the
size of a camera's. It prints the CPU time of decoding one to the network's input, in full and
reduced, and the share of photos that get the same class from both.
"""

import time
from collections.abc import Callable
from io import BytesIO
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import numpy as np
import typer
from PIL import Image

from service.engine.backends.base import channels_first
from service.engine.backends.factory import open_backend
from service.images import decode
from training import bundle
from training.bundle import Pixels, open_image, to_pixels
from training.data.archive import iter_files
from training.data.formats import SUFFIXES

REPEATS: Final = 15
BATCH: Final = 25
QUALITY: Final = 90


def main(
    data: Annotated[Path, typer.Option(help="Photos: a folder or an archive.")],
    bundle_path: Annotated[Path, typer.Option("--bundle", help="Folder of the bundle.")] = Path(
        "bundles/current"
    ),
    count: Annotated[int, typer.Option(help="Photos whose class is compared.")] = 500,
    megapixels: Annotated[float, typer.Option(help="Size of the photo that is timed.")] = 12.0,
    compared: Annotated[float, typer.Option(help="Size of the photos that are compared.")] = 12.0,
) -> None:
    """Measure the reduced decode of large photos beside the full one."""
    loaded = bundle.load(bundle_path)
    side = loaded.spec.side
    photos = (read() for path, read in iter_files(data) if path.suffix.lower() in SUFFIXES)
    every = list(islice(photos, None))
    chosen = [every[n] for n in np.linspace(0, len(every) - 1, count).astype(int)]
    timed = enlarged(chosen[0], megapixels)
    full_ms, reduced_ms = (
        median(_milliseconds(how, timed, side) for _ in range(REPEATS))
        for how in (_in_full, _reduced)
    )
    print(
        f"{megapixels:g} MP, {len(timed) / 2**20:.1f} MiB: in full {full_ms:.0f} ms, reduced "
        f"{reduced_ms:.0f} ms, ratio {reduced_ms / full_ms:.2f}"
    )
    backend = open_backend(loaded, device="cpu")
    backend.prepare(BATCH)
    same = 0
    for start in range(0, count, BATCH):
        files = [enlarged(one, compared) for one in chosen[start : start + BATCH]]
        found = [
            backend.run(channels_first(np.stack([how(file, side) for file in files])))
            for how in (_in_full, _reduced)
        ]
        one, other = (each.layers[loaded.spec.class_layer].argmax(1) for each in found)
        same += int((one == other).sum())
    print(f"{same} of {count} photos of {compared:g} MP have the same class ({backend.name})")


def enlarged(content: bytes, megapixels: float) -> bytes:
    """Return a photo as a JPEG of about so many million pixels."""
    image = open_image(content).convert("RGB")
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    size = (round(image.width * scale), round(image.height * scale))
    file = BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _in_full(file: bytes, side: int) -> Pixels:
    return to_pixels(open_image(file), size=side)


def _reduced(file: bytes, side: int) -> Pixels:
    return decode(open_image(file), side)


def _milliseconds(how: Callable[[bytes, int], Pixels], file: bytes, side: int) -> float:
    started = time.process_time()
    how(file, side)
    return 1000 * (time.process_time() - started)


if __name__ == "__main__":
    typer.run(main)

"""Measures how many wrong labels `GET /gallery/doubtful` lists, and how early.

    python -m benchmarks.search.doubtful --bundle bundles/current

Changes 5 % of the labels of the bundle's gallery at random, in a temporary folder. Prints which
share of them is listed, and which is among the first, as many as were changed.
"""

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from service.gallery.local.gallery import LocalGallery
from service.gallery.protocol import View
from service.gallery.types import MATCH_ALL, Item
from service.retrieval.doubtful import DoubtSearch
from training import bundle
from training.bundle import Layer

SHARE: Final = 0.05
HEADER: Final = "| layer | seconds | among the first | listed |\n| --- | ---: | ---: | ---: |\n"


def flipped(view: View, share: float) -> dict[str, str]:
    """Return another label for a share of the images, by id."""
    random = np.random.default_rng(0)
    items = [item for page in view.pages(1000) for item in page]
    chosen = random.choice(len(items), round(share * len(items)), replace=False)
    shifts = random.integers(1, len(view.classes), len(chosen))
    return {
        items[n].id: view.classes[(view.classes.index(items[n].label) + shift) % len(view.classes)]
        for n, shift in zip(chosen.tolist(), shifts.tolist(), strict=True)
    }


def measure(view: View, layer: Layer, wrong: dict[str, str]) -> str:
    """Return the row of a layer."""
    started = time.perf_counter()
    search = DoubtSearch(view, layer, count=len(view), after="", filter_=MATCH_ALL)
    while search.examine_slice():
        pass
    seconds = time.perf_counter() - started
    found = [item.id for item in search.response().items]
    first, listed = (
        len(wrong.keys() & set(some)) / len(wrong) for some in (found[: len(wrong)], found)
    )
    return f"| {layer} | {seconds:.2f} | {first:.3f} | {listed:.3f} |\n"


def main(path: Annotated[Path, typer.Option("--bundle", help="The bundle.")]) -> None:
    """Change labels, search for them, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = LocalGallery.open(bundle.load(path), Path(folder))
        wrong = flipped(gallery.snapshot(), SHARE)
        for image_id, label in wrong.items():

            def change(item: Item, label: str = label) -> Item:
                return dataclasses.replace(item, label=label)

            gallery.edit(image_id, change).result()
        view = gallery.snapshot()
        sys.stdout.write(HEADER + "".join(measure(view, layer, wrong) for layer in view.layers))
        gallery.close()


if __name__ == "__main__":
    typer.run(main)

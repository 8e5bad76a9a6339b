"""The gallery backends under test, images to add, and short reads."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from service.gallery.conditions import Attributes
from service.gallery.local.gallery import LocalGallery
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.gallery import MilvusGallery
from service.gallery.protocol import Gallery
from service.gallery.types import Addition, Filter, Item
from tests.support.fakes import png
from tests.support.images import striped_image
from training.bundle import Bundle, Layer, Vectors

Open = Callable[[Bundle, Path], Gallery]
FILE = "gallery.db"


_filled: list[tuple[Bundle, TemporaryDirectory[str]]] = []
"""Databases of milvus-lite that have the images of a bundle, and no changes."""


def on_milvus_lite(bundle: Bundle, folder: Path) -> Gallery:
    """Open a gallery in a file of milvus-lite, in this process.

    A new one is a copy of the first of the same bundle, because to fill it takes a second.
    """
    if not (folder / FILE).exists():
        filled = next((copy for owner, copy in _filled if owner is bundle), None)
        if filled is None:
            filled = TemporaryDirectory()
            _opened(bundle, Path(filled.name)).close()
            _filled.append((bundle, filled))
        shutil.copytree(Path(filled.name) / FILE, folder / FILE)
    return _opened(bundle, folder)


def _opened(bundle: Bundle, folder: Path) -> Gallery:
    return MilvusGallery.open(bundle, MilvusAddress.parse(f"milvus://{folder}/{FILE}"))


BACKENDS: dict[str, Open] = {"local": LocalGallery.open, "milvus-lite": on_milvus_lite}
"""Functions that open a gallery of a bundle in a folder; opened again, it has the same images."""

MORNING = datetime(2026, 1, 1, tzinfo=UTC)


def vectors(bundle: Bundle, seed: int) -> dict[Layer, Vectors]:
    """Return random vectors at the layers of a bundle, the same for the same seed."""
    random = np.random.default_rng(seed)
    return {
        layer: random.normal(size=index.dimension).astype(np.float32)
        for layer, index in bundle.indexes.items()
    }


def addition(
    bundle: Bundle,
    seed: int,
    *,
    image_id: str | None = None,
    label: str = "cyan",
    attributes: Attributes | None = None,
    kind: int = 3,
) -> Addition:
    """Return an image to add, drawn from its seed."""
    return Addition(
        Item(
            id=image_id or f"added-{seed:04d}",
            label=label,
            predicted="blue",
            attributes=attributes or {},
            source="added",
            created_at=MORNING,
        ),
        png=png(striped_image(kind, 20_000 + seed)),
        vectors=vectors(bundle, seed),
        network=bundle.network_id,
    )


def ids(gallery: Gallery, filter_: Filter = Filter()) -> list[str]:  # noqa: B008  frozen
    """Return all ids, read page by page."""
    found: list[str] = []
    after = ""
    while True:
        page = gallery.snapshot().page(7, after=after, filter_=filter_)
        found += [item.id for item in page.items]
        if page.next is None:
            return found
        after = page.next


def nearest(gallery: Gallery, query: Vectors, *, exact: bool = False) -> str:
    """Return the id of the nearest image at conv2."""
    ((match,),) = gallery.snapshot().search("conv2", query[None], 1, exact=exact)
    return match.item.id

"""The homes that the protocol's suite is run on, and images to put there."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from service.gallery.local.gallery import LocalGallery
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.gallery import MilvusGallery
from service.gallery.protocol import Gallery
from service.gallery.types import Addition, Attributes, Item
from tests.support.fakes import png
from tests.support.images import striped_image
from training.bundle import Bundle, Layer, Vectors

Open = Callable[[Bundle, Path], Gallery]


def on_milvus_lite(bundle: Bundle, folder: Path) -> Gallery:
    """Open a gallery on a Milvus that is a file, in this process."""
    return MilvusGallery.open(bundle, MilvusAddress.parse(f"milvus://{folder}/gallery.db"))


BACKENDS: dict[str, Open] = {"local": LocalGallery.open, "milvus-lite": on_milvus_lite}
"""How each is opened over a bundle, with a folder to keep its images in; opened again there, it has
them still."""

MORNING = datetime(2026, 1, 1, tzinfo=UTC)


def vectors(bundle: Bundle, seed: int) -> dict[Layer, Vectors]:
    """Vectors that no other image has, at the layers of a bundle."""
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
    """An image to be added, as its seed draws it."""
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

"""The few dimensions in which a Milvus proposes what its full vectors then put in order.

An inner product in 256 dimensions instead of 8192 is what makes many images searchable: those are
in memory, as a graph; the full ones may lie on disk. The dimensions are of one network, found in
the first bundle of it that comes, and kept beside the images, so that all services reduce alike.
Knows vectors and rows; nothing of images.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from service.gallery.milvus import rows
from service.gallery.milvus.collection import Collection, Row
from service.gallery.milvus.expressions import expression
from training.bundle import Bundle, Layer, Projection, Vectors

LAYER: Final[Layer] = "conv2"
FIELD: Final = "conv2_256"
SIZE: Final = 256
MIN_IMAGES: Final = 1_000
"""Images from which the dimensions can be found; with fewer, every search looks at all."""
CANDIDATES: Final = 20
"""How many times the images asked for are proposed."""


class StoredProjection:
    """The dimensions of one network; none where too little was known to find them."""

    def __init__(self, directions: Vectors | None) -> None:
        self._directions = directions

    @classmethod
    def of(cls, bundle: Bundle, kept: Collection) -> "StoredProjection":
        """What is kept of the bundle's network; found and kept now, if nobody has."""
        network = bundle.network_id
        known = kept.query(
            expression("key == {key}", key=rows.key(network, rows.BASIS)), fields=("label",)
        )
        if not known:
            directions = _find(bundle)
            marks = [
                rows.of_marker(f"{network}-{number:03d}", rows.DIRECTION, kept.dimensions)
                | {LAYER: direction}
                for number, direction in enumerate([] if directions is None else directions)
            ]
            kept.upsert(marks)
            kept.upsert([rows.of_marker(network, rows.BASIS, kept.dimensions)])
        return cls(_read(network, kept))

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self._directions is not None

    def project(self, vectors: Vectors) -> Vectors:
        """Vectors [N, dimension] in the few dimensions, [N, 256]; zeros where there are none."""
        if self._directions is None:
            return np.zeros((len(vectors), SIZE), np.float32)
        projected: Vectors = vectors @ self._directions.T
        return projected

    def field(self, row: Row, vectors: Mapping[Layer, Vectors]) -> Row:
        """A row with the few dimensions of its full vector, if it has one."""
        return row | {FIELD: self.project(row[LAYER][None])[0]} if LAYER in vectors else row


def _find(bundle: Bundle) -> Vectors | None:
    index = bundle.indexes.get(LAYER)
    if index is None or len(index) < MIN_IMAGES:
        return None
    projection = index.projection or Projection.fit(index.reconstruct(range(len(index))))
    return projection.directions


def _read(network: str, kept: Collection) -> Vectors | None:
    names = [rows.key(f"{network}-{number:03d}", rows.DIRECTION) for number in range(SIZE)]
    found = {
        row["key"]: row[LAYER]
        for row in kept.query(expression("key in {keys}", keys=names), fields=("key", LAYER))
    }
    if len(found) < SIZE:
        return None
    return np.array([found[name] for name in names], np.float32)

"""The projection to few dimensions with which a Milvus proposes candidates for rescoring.

Projected vectors, 256 dimensions instead of thousands, are in memory as a graph; full vectors may
be on disk. The layer is the default one of the bundle's network. A network's projection is computed
from the first bundle with it, and stored on the Milvus, so that all services use the same one.
Knows vectors and rows; nothing of images.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from service.gallery.milvus import rows
from service.gallery.milvus.collection import Collection, Row
from service.gallery.milvus.expressions import expression
from training.bundle import Bundle, Layer, Projection, Vectors

SIZE: Final = 256
MIN_IMAGES: Final = 1_000
"""Images that a projection is computed from, at least; with fewer, every search is exact."""
CANDIDATES: Final = 20
"""Candidates for each result."""


class StoredProjection:
    """The projection of one network, if its bundle had enough images to compute it."""

    def __init__(self, layer: Layer, directions: Vectors | None) -> None:
        self.layer = layer
        """The layer whose vectors are projected."""
        self.field = field_of(layer)
        """The field of the projected vectors."""
        self._directions = directions

    @classmethod
    def of(cls, bundle: Bundle, collection: Collection) -> "StoredProjection":
        """Read the projection of the bundle's network; compute and store it if it is missing."""
        network, layer = bundle.network_id, bundle.spec.searched[0]
        known = collection.query(
            expression("key == {key}", key=rows.key(network, rows.PROJECTION)), fields=("label",)
        )
        if not known:
            directions = _compute(bundle, layer)
            markers = [
                rows.of_marker(f"{network}-{number:03d}", rows.DIRECTION, collection.dimensions)
                | {layer: direction}
                for number, direction in enumerate([] if directions is None else directions)
            ]
            collection.upsert(markers)
            collection.upsert([rows.of_marker(network, rows.PROJECTION, collection.dimensions)])
        return cls(layer, _read(network, layer, collection))

    @property
    def known(self) -> bool:
        """Whether there is a projection."""
        return self._directions is not None

    def project(self, vectors: Vectors) -> Vectors:
        """Return vectors [N, dimension] projected to [N, 256]; zeros if there is no projection."""
        if self._directions is None:
            return np.zeros((len(vectors), SIZE), np.float32)
        projected: Vectors = vectors @ self._directions.T
        return projected

    def complete(self, row: Row, vectors: Mapping[Layer, Vectors]) -> Row:
        """Return a row with the projection of its full vector, if it has one."""
        if self.layer not in vectors:
            return row
        return row | {self.field: self.project(row[self.layer][None])[0]}


def field_of(layer: Layer) -> str:
    """Return the name of the field with the projected vectors of a layer."""
    return f"{layer}_{SIZE}"


def _compute(bundle: Bundle, layer: Layer) -> Vectors | None:
    index = bundle.indexes[layer]
    if len(index) < MIN_IMAGES:
        return None
    projection = index.projection or Projection.fit(index.reconstruct(range(len(index))))
    return projection.directions


def _read(network: str, layer: Layer, collection: Collection) -> Vectors | None:
    names = [rows.key(f"{network}-{number:03d}", rows.DIRECTION) for number in range(SIZE)]
    found = {
        row["key"]: row[layer]
        for row in collection.query(expression("key in {keys}", keys=names), fields=("key", layer))
    }
    if len(found) < SIZE:
        return None
    return np.array([found[name] for name in names], np.float32)

"""Searches a gallery on a GPU, by a matrix product with all of its vectors.

A GPU multiplies a gigabyte of vectors faster than a CPU searches an index, and query vectors need
not leave the device. Knows segments and tensors; nothing of storage.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.gallery.local.compaction import MIN_PROJECTED_DIMENSION
from service.gallery.local.snapshot import Snapshot
from service.gallery.segment import Segment
from service.gallery.types import ScoredItem
from service.vectors import Queries, in_memory
from training.bundle import CosineIndex, Layer

MEMORY_FRACTION: Final = 0.25
"""Fraction of the device's memory for one gallery's vectors: a reload holds two galleries."""
OVERSAMPLING: Final = 4
"""Candidates for each result: the fp16 product is rounded, so they are rescored at fp32."""
MIN_RESCORED: Final = 64
"""Candidates at least, however small the limit."""
UPLOAD_BATCH: Final = 4096
"""Vectors copied to the device at a time."""
RESCORE_BATCH: Final = 2048
"""Vectors rescored at a time, or all of one query."""

logger = logging.getLogger(__name__)


class GpuSearcher:
    """Searches the current snapshot at each call. Not thread-safe.

    A segment's vectors are copied to the device when it is first searched, and freed with it. If
    all segments together exceed the limit, searches run in memory.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], device: torch.device, max_bytes: float | None = None
    ) -> None:
        """Copy nothing yet.

        Args:
            snapshot: returns the current snapshot.
            device: where the network runs.
            max_bytes: limit for all vectors. Default: `MEMORY_FRACTION` of a GPU's memory.

        """
        self._snapshot = snapshot
        self._device = device
        self._max_bytes = _default_max_bytes(device) if max_bytes is None else max_bytes
        self._vectors: WeakKeyDictionary[CosineIndex, Tensor] = WeakKeyDictionary()
        self._deleted: WeakKeyDictionary[Segment, Tensor] = WeakKeyDictionary()

    def warm_up(self) -> None:
        """Copy all vectors to the device, so that no request waits for it."""
        snapshot = self._snapshot()
        for layer in snapshot.layers:
            self.search(layer, np.ones((1, snapshot.dimension(layer)), np.float32), 1)

    def search(self, layer: Layer, queries: Queries, limit: int) -> Sequence[Sequence[ScoredItem]]:
        """Return the `limit` nearest images to each of the queries [N, dimension], best first.

        Raises:
            NotFoundError: the layer is not indexed.

        """
        snapshot = self._snapshot()
        segments = snapshot.searchable(layer)
        size = sum(_bytes(index) for one in snapshot.segments for index in one.indexes.values())
        if segments and size <= self._max_bytes:
            try:
                with torch.inference_mode():
                    return self._search(segments, layer, torch.as_tensor(queries), limit)
            except torch.OutOfMemoryError as error:
                logger.warning("The gallery is searched in memory: %s", error)
                self._max_bytes = size - 1
        self._vectors.clear()
        return snapshot.search(layer, in_memory(queries), limit)

    def _search(
        self, segments: Sequence[Segment], layer: Layer, queries: Tensor, limit: int
    ) -> list[list[ScoredItem]]:
        unit = functional.normalize(queries.to(self._device).float(), dim=1)
        limit = min(limit, sum(map(len, segments)))
        scores, locations = [], []
        for number, segment in enumerate(segments):
            count = max(MIN_RESCORED, OVERSAMPLING * limit)
            found, rows = self._propose(segment, segment.indexes[layer], unit, count)
            scores.append(found)
            locations.append(torch.stack((torch.full_like(rows, number), rows), dim=2))
        best, chosen = torch.cat(scores, dim=1).topk(limit)
        best_locations = torch.cat(locations, dim=1).take_along_dim(chosen.unsqueeze(2), dim=1)
        cosines = best.clamp(-1, 1).tolist()
        return [
            [
                ScoredItem(segments[number].items[row], cosine)
                for cosine, (number, row) in zip(some, where, strict=True)
            ]
            for some, where in zip(cosines, best_locations.tolist(), strict=True)
        ]

    def _propose(
        self, segment: Segment, index: CosineIndex, unit: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return cosines fp32 and rows [N, count] of a segment's best; deleted rows have -inf."""
        vectors = self._vectors_of(index)
        rough = unit.to(vectors.dtype) @ vectors.T
        if segment.deleted:
            rough.index_fill_(1, self._deleted_of(segment), -torch.inf)
        near = rough.topk(min(count, len(vectors)))
        query_count = max(1, RESCORE_BATCH // near.indices.shape[1])  # at a time
        exact = torch.cat(
            [
                torch.einsum("nd,nkd->nk", some, vectors[rows].float())
                for some, rows in zip(
                    unit.split(query_count), near.indices.split(query_count), strict=True
                )
            ]
        )
        return exact.masked_fill(near.values == -torch.inf, -torch.inf), near.indices

    def _vectors_of(self, index: CosineIndex) -> Tensor:
        """Return unit vectors [N, dimension] on the device, at fp16 for long vectors."""
        if index not in self._vectors:
            shape, dtype = (len(index), index.dimension), _dtype(index)
            vectors = torch.empty(shape, dtype=dtype, device=self._device)
            stored = index.fp16 if dtype == torch.half else index.reconstruct
            for batch in np.array_split(np.arange(len(index)), -(-len(index) // UPLOAD_BATCH)):
                vectors[batch[0] : batch[-1] + 1] = torch.from_numpy(stored(batch))
            self._vectors[index] = vectors
        return self._vectors[index]

    def _deleted_of(self, segment: Segment) -> Tensor:
        if segment not in self._deleted:
            self._deleted[segment] = torch.tensor(sorted(segment.deleted), device=self._device)
        return self._deleted[segment]


def _dtype(index: CosineIndex) -> torch.dtype:
    """Return the type that an index's vectors have on the device."""
    return torch.half if index.dimension > MIN_PROJECTED_DIMENSION else torch.float


def _bytes(index: CosineIndex) -> int:
    return len(index) * index.dimension * _dtype(index).itemsize


def _default_max_bytes(device: torch.device) -> float:
    if device.type != "cuda":
        return torch.inf
    return MEMORY_FRACTION * torch.cuda.get_device_properties(device).total_memory

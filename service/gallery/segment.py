"""Some images with their indexes, made once: what changes a gallery makes another segment.

Knows items and vectors; nothing of where they are kept.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from service.gallery.types import Filter, Item
from training.bundle import CosineIndex, Layer, Positions, Projection, concatenate

OF_BUNDLE: Final = -1
"""Stands for the number of an image that the store does not have."""
FILTER_CACHE_SIZE: Final = 32
"""So many answers to which rows are wanted are kept: the same is often asked again."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Images in rows; those of them that are `deleted` have gone, or are in another segment by now.

    `numbers` int64 [N] are the store's. A segment without `indexes` is listed and not searched.
    """

    items: tuple[Item, ...]
    numbers: npt.NDArray[np.int64]
    indexes: Mapping[Layer, CosineIndex]
    deleted: frozenset[int] = frozenset()
    _filter_cache: dict[Filter, Positions] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items) - len(self.deleted)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Where each id is, dead or not."""
        return {item.id: row for row, item in enumerate(self.items)}

    @cached_property
    def _in_order(self) -> list[int]:
        return sorted(range(len(self.items)), key=self._id)

    def _id(self, row: int) -> str:
        return self.items[row].id

    def row(self, image_id: str) -> int | None:
        """Where the image is, if it is here and not dead."""
        row = self.rows.get(image_id)
        return None if row in self.deleted else row

    def live(self) -> Positions:
        """The rows that are not dead."""
        rows = np.arange(len(self.items))
        return np.setdiff1d(rows, list(self.deleted)) if self.deleted else rows

    def without(self, rows: Sequence[int]) -> Self:
        """The same with more of them dead."""
        deleted = self.deleted.union(rows)
        other = replace(self, deleted=deleted)  # `_filter_cache` tells of rows, dead or not
        other.__dict__.update({name: self.__dict__[name] for name in _CACHED & vars(self).keys()})
        return other

    def after(self, image_id: str, filter_: Filter) -> Iterator[Item]:
        """The wanted images whose ids come after this one, in order."""
        start = bisect_right(self._in_order, image_id, key=self._id)
        for position in range(start, len(self._in_order)):
            row = self._in_order[position]
            if row not in self.deleted and filter_.matches(self.items[row]):
                yield self.items[row]

    def matching_rows(self, filter_: Filter) -> Positions:
        """The rows that are wanted and not dead."""
        rows = self._filter_cache.get(filter_)
        if rows is None:
            matches = filter_.matches
            rows = np.array([n for n, item in enumerate(self.items) if matches(item)], np.int64)
            if len(self._filter_cache) < FILTER_CACHE_SIZE:
                self._filter_cache[filter_] = rows
        return np.setdiff1d(rows, list(self.deleted)) if self.deleted else rows


_CACHED: Final = frozenset({"rows", "_in_order"})


def merge(segments: Sequence[Segment], projections: Mapping[Layer, Projection]) -> Segment:
    """The living images of several segments, all searchable or none, in one.

    At layers that have a reduction, it is searched by that first.
    """
    live = [segment.live() for segment in segments]
    layers = segments[0].indexes
    parts = {
        layer: [(one.indexes[layer], rows) for one, rows in zip(segments, live, strict=True)]
        for layer in layers
    }
    return Segment(
        items=tuple(
            one.items[row] for one, rows in zip(segments, live, strict=True) for row in rows
        ),
        numbers=np.concatenate(
            [one.numbers[rows] for one, rows in zip(segments, live, strict=True)]
        ),
        indexes={layer: concatenate(parts[layer], projections.get(layer)) for layer in layers},
    )

"""An immutable group of images with their indexes; a change makes another segment.

Knows items and vectors; nothing of storage.
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
"""The entry in `numbers` of an image of the bundle, which is not in the store."""
FILTER_CACHE_SIZE: Final = 32
"""Filters whose matching rows a segment caches: many requests use the same."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Images in rows. A `deleted` row was removed, or is in another segment now.

    `numbers` int64 [N] are those of the store. A segment without `indexes` is listed and not
    searched.
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
        """The row of each id, deleted or not."""
        return {item.id: row for row, item in enumerate(self.items)}

    @cached_property
    def _in_order(self) -> list[int]:
        return sorted(range(len(self.items)), key=self._id)

    def _id(self, row: int) -> str:
        return self.items[row].id

    def row(self, image_id: str) -> int | None:
        """Return the row of an image, if it is here and not deleted."""
        row = self.rows.get(image_id)
        return None if row in self.deleted else row

    def live(self) -> Positions:
        """Return the rows that are not deleted."""
        rows = np.arange(len(self.items))
        return np.setdiff1d(rows, list(self.deleted)) if self.deleted else rows

    def without(self, rows: Sequence[int]) -> Self:
        """Return this segment with more rows deleted."""
        deleted = self.deleted.union(rows)
        other = replace(self, deleted=deleted)  # `_filter_cache` holds rows, deleted or not
        other.__dict__.update({name: self.__dict__[name] for name in _CACHED & vars(self).keys()})
        return other

    def after(self, image_id: str, filter_: Filter) -> Iterator[Item]:
        """Yield the matching images whose ids follow this one, in order."""
        start = bisect_right(self._in_order, image_id, key=self._id)
        for position in range(start, len(self._in_order)):
            row = self._in_order[position]
            if row not in self.deleted and filter_.matches(self.items[row]):
                yield self.items[row]

    def matching_rows(self, filter_: Filter) -> Positions:
        """Return the rows of matching images that are not deleted."""
        rows = self._filter_cache.get(filter_)
        if rows is None:
            matches = filter_.matches
            rows = np.array([n for n, item in enumerate(self.items) if matches(item)], np.int64)
            if len(self._filter_cache) < FILTER_CACHE_SIZE:
                self._filter_cache[filter_] = rows
        return np.setdiff1d(rows, list(self.deleted)) if self.deleted else rows


_CACHED: Final = frozenset({"rows", "_in_order"})


def merge(segments: Sequence[Segment], projections: Mapping[Layer, Projection]) -> Segment:
    """Merge the live images of segments into one; all segments must have the same layers.

    At layers with a projection, the merged index is searched in two stages.
    """
    parts = [(segment, segment.live()) for segment in segments]
    return Segment(
        items=tuple(one.items[row] for one, rows in parts for row in rows),
        numbers=np.concatenate([one.numbers[rows] for one, rows in parts]),
        indexes={
            layer: concatenate(
                [(one.indexes[layer], rows) for one, rows in parts], projections.get(layer)
            )
            for layer in segments[0].indexes
        },
    )

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

from service.gallery.types import Item, Wanted
from training.bundle import CosineIndex, Layer, Positions, Reduction, join

OF_BUNDLE: Final = -1
"""Stands for the number of an image that the store does not have."""
REMEMBERED: Final = 32
"""So many answers to which rows are wanted are kept: the same is often asked again."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Images in rows; those of them that are `dead` have gone, or are in another segment by now.

    `numbers` int64 [N] are the store's. A segment without `indexes` is listed and not searched.
    """

    items: tuple[Item, ...]
    numbers: npt.NDArray[np.int64]
    indexes: Mapping[Layer, CosineIndex]
    dead: frozenset[int] = frozenset()
    _wanted: dict[Wanted, Positions] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items) - len(self.dead)

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
        return None if row in self.dead else row

    def living(self) -> Positions:
        """The rows that are not dead."""
        rows = np.arange(len(self.items))
        return np.setdiff1d(rows, list(self.dead)) if self.dead else rows

    def without(self, rows: Sequence[int]) -> Self:
        """The same with more of them dead."""
        dead = self.dead.union(rows)
        other = replace(self, dead=dead)  # `_wanted` tells of rows, dead or not
        other.__dict__.update({name: self.__dict__[name] for name in _CACHED & vars(self).keys()})
        return other

    def after(self, image_id: str, wanted: Wanted) -> Iterator[Item]:
        """The wanted images whose ids come after this one, in order."""
        start = bisect_right(self._in_order, image_id, key=self._id)
        for position in range(start, len(self._in_order)):
            row = self._in_order[position]
            if row not in self.dead and wanted.takes(self.items[row]):
                yield self.items[row]

    def rows_of(self, wanted: Wanted) -> Positions:
        """The rows that are wanted and not dead."""
        rows = self._wanted.get(wanted)
        if rows is None:
            takes = wanted.takes
            rows = np.array([n for n, item in enumerate(self.items) if takes(item)], np.int64)
            if len(self._wanted) < REMEMBERED:
                self._wanted[wanted] = rows
        return np.setdiff1d(rows, list(self.dead)) if self.dead else rows


_CACHED: Final = frozenset({"rows", "_in_order"})


def merge(segments: Sequence[Segment], reductions: Mapping[Layer, Reduction]) -> Segment:
    """The living images of several segments, all searchable or none, in one.

    At layers that have a reduction, it is searched by that first.
    """
    living = [segment.living() for segment in segments]
    layers = segments[0].indexes
    parts = {
        layer: [(one.indexes[layer], rows) for one, rows in zip(segments, living, strict=True)]
        for layer in layers
    }
    return Segment(
        items=tuple(
            one.items[row] for one, rows in zip(segments, living, strict=True) for row in rows
        ),
        numbers=np.concatenate(
            [one.numbers[rows] for one, rows in zip(segments, living, strict=True)]
        ),
        indexes={layer: join(parts[layer], reductions.get(layer)) for layer in layers},
    )

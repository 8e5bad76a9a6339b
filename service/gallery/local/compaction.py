"""Merges segments, since few are searched faster than many, and drops deleted images.

The writer merges small segments, a background thread the larger ones. Each segment is smaller than
the one before it, so an image is copied once each time the gallery doubles. The bundle's images
stay a segment of their own. Knows segments; nothing of storage.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from service.gallery.local.snapshot import Snapshot
from service.gallery.segment import Segment, merge
from training.bundle import Layer, Positions, Projection, Vectors

SMALL_SEGMENT: Final = 512
"""The writer merges segments of fewer images, in a few milliseconds."""
MAX_SEGMENT: Final = 2**17
"""Segments of more images are not merged: a copy would take seconds."""
MIN_PROJECTED_DIMENSION: Final = 512
"""Layers of more dimensions are searched in two stages, with a projection first."""
PROJECTION_SAMPLE: Final = 2_000
"""Vectors that a projection is computed from."""

Exchange = Callable[[Snapshot], Snapshot]

logger = logging.getLogger(__name__)


def merge_small(
    segments: Sequence[Segment], projections: Mapping[Layer, Projection]
) -> list[Segment]:
    """Return the segments with small ones at the end merged, and empty ones left out."""
    merged: list[Segment] = []
    for segment in segments:
        if len(segment):
            merged.append(segment)
        while len(merged) > 1 and _are_mergeable(*merged[-2:], sizes=range(SMALL_SEGMENT)):
            last = merged.pop()
            merged.append(merge([merged.pop(), last], projections))
    return merged


class Compactor:
    """Merges the larger segments of a gallery in a thread that runs while there are any."""

    def __init__(self, replace_snapshot: Callable[[Exchange], None]) -> None:
        """Start no thread yet.

        Args:
            replace_snapshot: replaces the gallery's snapshot by what the exchange returns for it.

        """
        self._replace_snapshot = replace_snapshot
        self._changed = threading.Condition()
        self._snapshot: Snapshot | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def schedule(self, snapshot: Snapshot) -> None:
        """Compact a snapshot in the background, if it needs it; return at once."""
        if not _pick_segments(snapshot):
            return
        with self._changed:
            self._snapshot = snapshot
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run_loop, name="compactor", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Start no more merges, and wait for the one in progress."""
        with self._changed:
            self._stopping = True
            thread = self._thread
        if thread is not None:
            thread.join()
        self._replace_snapshot = lambda _: None  # the gallery is freed with its last user

    def _run_loop(self) -> None:
        while True:
            with self._changed:
                snapshot, self._snapshot = self._snapshot, None
                if snapshot is None or self._stopping:
                    self._thread = None
                    return
            try:
                self._compact(snapshot)
            except Exception:  # the snapshot can be searched as it is
                logger.exception("The gallery could not be compacted")

    def _compact(self, snapshot: Snapshot) -> None:
        parts = _pick_segments(snapshot)
        if not parts:
            return
        merged = merge(parts, _projections(snapshot))

        def exchange(now: Snapshot) -> Snapshot:
            """Replace the parts by the merged segment, without images deleted in the meantime."""
            found = {id(one.items): one for one in now.segments}
            there = {part: found[id(part.items)] for part in parts if id(part.items) in found}
            if not there:
                return now  # the snapshot was rebuilt
            deleted = [
                merged.rows[part.items[row].id]
                for part in parts
                for row in part.live().tolist()
                if part not in there or row in there[part].deleted
            ]
            first, *others = there.values()
            replaced: dict[Segment, Segment | None] = {first: merged.without(deleted)}
            after = now.exchange(replaced | dict.fromkeys(others))
            self.schedule(after)
            return after

        self._replace_snapshot(exchange)


def _projections(snapshot: Snapshot) -> Mapping[Layer, Projection]:
    """Return the projection of each long layer: the existing one, or one computed from samples."""
    return {
        layer: snapshot.projections.get(layer) or Projection.fit(_sample(snapshot, layer))
        for layer, index in snapshot.segments[0].indexes.items()
        if index.dimension > MIN_PROJECTED_DIMENSION
    }


def _pick_segments(snapshot: Snapshot) -> list[Segment]:
    """Return the segments to merge or rewrite next; none if the snapshot is compact."""
    base, *others = snapshot.segments
    added = [one for one in others if one.indexes]
    larger = [one for one in added if len(one.items) >= SMALL_SEGMENT]
    # Once a layer has a projection, segments without one take most of a search's time.
    for segment in (base, *added) if snapshot.projections else larger:
        if _needs_projection(segment):
            return [segment]
    for segment in (base, *larger) if len(base) >= SMALL_SEGMENT else larger:
        if 2 * len(segment.deleted) > len(segment.items):
            return [segment]
    for two in pairwise(larger):
        if _are_mergeable(*two, sizes=range(SMALL_SEGMENT, MAX_SEGMENT)):
            return list(two)
    return []


def _needs_projection(segment: Segment) -> bool:
    return any(
        index.dimension > MIN_PROJECTED_DIMENSION and index.projection is None
        for index in segment.indexes.values()
    )


def _are_mergeable(one: Segment, other: Segment, *, sizes: range) -> bool:
    return (
        len(one.items) in sizes
        and len(other.items) in sizes
        and len(one.items) <= len(other.items)
        and one.indexes.keys() == other.indexes.keys()
    )


def _sample(snapshot: Snapshot, layer: Layer) -> Vectors:
    """Return vectors [N, dimension] from all segments, in proportion to their sizes."""
    segments = [one for one in snapshot.segments if layer in one.indexes]
    share = min(1.0, PROJECTION_SAMPLE / sum(len(one.items) for one in segments))
    return np.concatenate(
        [one.indexes[layer].reconstruct(_spread(len(one.items), share)) for one in segments]
    )


def _spread(count: int, share: float) -> Positions:
    """Return a share of `count` positions, evenly spaced."""
    return np.linspace(0, count - 1, max(1, round(count * share))).astype(np.int64)

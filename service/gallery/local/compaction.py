"""Few segments are searched faster than many: small ones are merged by who writes, others beside.

Each is smaller than the one before, so an image is copied as often as the gallery doubles. What is
dead is left behind. The bundle's images stay a segment of their own. Knows segments; nothing of
where images are kept.
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
"""Segments of fewer images are merged by who writes, in a few milliseconds."""
MAX_SEGMENT: Final = 2**17
"""A segment of more images is left as it is: it would take seconds to copy."""
MIN_PROJECTED_DIMENSION: Final = 512
"""Vectors of more dimensions are searched in fewer first."""
PROJECTION_SAMPLE: Final = 2_000
"""So many vectors tell in which."""

Exchange = Callable[[Snapshot], Snapshot]

logger = logging.getLogger(__name__)


def merge_small(
    segments: Sequence[Segment], projections: Mapping[Layer, Projection]
) -> list[Segment]:
    """The same images, the small last segments merged, and empty ones left out."""
    settled: list[Segment] = []
    for segment in segments:
        if len(segment):
            settled.append(segment)
        while len(settled) > 1 and _are_mergeable(*settled[-2:], among=range(SMALL_SEGMENT)):
            last = settled.pop()
            settled.append(merge([settled.pop(), last], projections))
    return settled


class Compactor:
    """Merges the larger segments of a gallery in a thread of its own, when there are any."""

    def __init__(self, put: Callable[[Exchange], None]) -> None:
        """Prepare.

        Args:
            put: puts another snapshot, made of the one that there is then, into its place.

        """
        self._put = put
        self._changed = threading.Condition()
        self._snapshot: Snapshot | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def schedule(self, snapshot: Snapshot) -> None:
        """See whether there is anything to do; it is done beside, and this returns at once."""
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
        """Begin nothing more, and wait for what is under way."""
        with self._changed:
            self._stopping = True
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run_loop(self) -> None:
        while True:
            with self._changed:
                snapshot, self._snapshot = self._snapshot, None
                if snapshot is None or self._stopping:
                    self._thread = None
                    return
            try:
                self._compact(snapshot)
            except Exception:  # it is searched as it is
                logger.exception("The gallery could not be compacted")

    def _compact(self, snapshot: Snapshot) -> None:
        parts = _pick_segments(snapshot)
        if not parts:
            return
        merged = merge(parts, _projections(snapshot))

        def exchange(now: Snapshot) -> Snapshot:
            """Put the merged segment in; what has died meanwhile is dead in it too."""
            found = {id(one.items): one for one in now.segments}
            there = {part: found[id(part.items)] for part in parts if id(part.items) in found}
            if not there:
                return now  # all of it was made anew
            deleted = [
                merged.rows[part.items[row].id]
                for part in parts
                for row in part.live().tolist()
                if part not in there or row in there[part].deleted
            ]
            first, *others = there.values()
            put: dict[Segment, Segment | None] = {first: merged.without(deleted)}
            after = now.exchange(put | dict.fromkeys(others))
            self.schedule(after)
            return after

        self._put(exchange)


def _projections(snapshot: Snapshot) -> Mapping[Layer, Projection]:
    """By what long vectors are searched first: what there is, else what fits the images here."""
    return {
        layer: snapshot.projections.get(layer) or Projection.fit(_sample(snapshot, layer))
        for layer, index in snapshot.segments[0].indexes.items()
        if index.dimension > MIN_PROJECTED_DIMENSION
    }


def _pick_segments(snapshot: Snapshot) -> list[Segment]:
    """What is to become one segment next; none when all is well."""
    base, *others = snapshot.segments
    added = [one for one in others if one.indexes]
    larger = [one for one in added if len(one.items) >= SMALL_SEGMENT]
    # once there is a reduction, what is left without one would take most of a search's time
    for segment in (base, *added) if snapshot.projections else larger:
        if _needs_projection(segment):
            return [segment]
    for segment in (base, *larger) if len(base) >= SMALL_SEGMENT else larger:
        if 2 * len(segment.deleted) > len(segment.items):
            return [segment]
    for two in pairwise(larger):
        if _are_mergeable(*two, among=range(SMALL_SEGMENT, MAX_SEGMENT)):
            return list(two)
    return []


def _needs_projection(segment: Segment) -> bool:
    return any(
        index.dimension > MIN_PROJECTED_DIMENSION and index.projection is None
        for index in segment.indexes.values()
    )


def _are_mergeable(one: Segment, other: Segment, *, among: range) -> bool:
    return (
        len(one.items) in among
        and len(other.items) in among
        and len(one.items) <= len(other.items)
        and one.indexes.keys() == other.indexes.keys()
    )


def _sample(snapshot: Snapshot, layer: Layer) -> Vectors:
    """Vectors [N, dimension] from all segments alike."""
    segments = [one for one in snapshot.segments if layer in one.indexes]
    share = min(1.0, PROJECTION_SAMPLE / sum(len(one.items) for one in segments))
    return np.concatenate(
        [one.indexes[layer].reconstruct(_spread(len(one.items), share)) for one in segments]
    )


def _spread(count: int, share: float) -> Positions:
    """Some of so many positions, evenly."""
    return np.linspace(0, count - 1, max(1, round(count * share))).astype(np.int64)

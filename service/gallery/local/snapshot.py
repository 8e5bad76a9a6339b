"""The immutable state of a local gallery between two changes: segments searched as one.

Knows segments; nothing of how they are built or where images are stored.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Self

from service.errors import NotEmbeddedError, NotFoundError
from service.gallery.protocol import Missing, View
from service.gallery.segment import OF_BUNDLE, Segment
from service.gallery.types import MATCH_ALL, Filter, Item, Page, ScoredItem, no_such_label
from training.bundle import Layer, Project, Projection, Vectors, concatenate, search_multi


@dataclass(frozen=True, eq=False)
class Snapshot(View):
    """The bundle's images, always the first segment, and the images added since."""

    is_frozen = True
    segments: tuple[Segment, ...]
    classes: tuple[str, ...]
    png: Callable[[Segment, int], bytes]
    """Returns the PNG of a row; raises `NotFoundError` if there is none."""
    bundle_thumbnail: Callable[[str], bytes | None] = lambda _: None
    """Returns the thumbnail of an image of the bundle."""
    outdated_ids: frozenset[str] = frozenset()
    """The images that have another network's vectors."""

    @cached_property
    def dimensions(self) -> Mapping[Layer, int]:
        """The layers that can be searched, and the number of dimensions of their vectors."""
        return {layer: index.dimension for layer, index in self.segments[0].indexes.items()}

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    @cached_property
    def _rows(self) -> int:
        """The number of images, with the deleted ones."""
        return sum(len(one.items) for one in self.segments)

    @cached_property
    def projections(self) -> Mapping[Layer, Projection]:
        """The projection of each layer that has one; new indexes of the layer use it too."""
        return {
            layer: index.projection
            for segment in reversed(self.segments)
            for layer, index in segment.indexes.items()
            if index.projection is not None
        }

    @cached_property
    def added(self) -> int:
        """The number of images added to those of the bundle."""
        live_numbers = (one.numbers[one.live()] for one in self.segments)
        return sum(int((numbers != OF_BUNDLE).sum()) for numbers in live_numbers)

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        filter_: Filter = MATCH_ALL,
        exact: bool = False,
        project: Project = Projection.project,
    ) -> list[list[ScoredItem]]:
        """Return the `limit` nearest images to each of the queries [N, dimension], best first.

        Arguments as for `View.search`; `project` projects the queries of a two-stage search.
        """
        segments = self.searchable(layer)
        self._check(filter_)
        indexes = [segment.indexes[layer] for segment in segments]
        row_ids = (
            None
            if filter_ == MATCH_ALL
            else [segment.matching_rows(filter_) for segment in segments]
        )
        deleted = 0 if row_ids else sum(len(segment.deleted) for segment in segments)
        fetch_limit = limit + min(deleted, limit)
        while True:  # until `limit` live images are found for each query
            all_hits = search_multi(
                indexes, queries, fetch_limit, exact=exact, row_ids=row_ids, project=project
            )
            found = [
                [
                    ScoredItem(segments[hit.index_number].items[hit.position], hit.score)
                    for hit in hits
                    if hit.position not in segments[hit.index_number].deleted
                ][:limit]
                for hits in all_hits
            ]
            if not deleted or fetch_limit >= self._rows or all(len(one) == limit for one in found):
                return found
            fetch_limit *= 4

    def searchable(self, layer: Layer) -> list[Segment]:
        """Return the segments that have live images with vectors at a layer.

        Raises:
            NotFoundError: the layer is not indexed.

        """
        self.dimension(layer)
        return [one for one in self.segments if layer in one.indexes and len(one)]

    def get(self, image_id: str) -> Item:
        """Return the image of that id."""
        segment, row = self.locate(image_id)
        return segment.items[row]

    def page(self, limit: int, *, after: str = "", filter_: Filter = MATCH_ALL) -> Page:
        """Return up to `limit` matching images whose ids follow `after`, by code points."""
        self._check(filter_)
        runs = (segment.after(after, filter_) for segment in self.segments)
        items = tuple(islice(heapq.merge(*runs, key=lambda item: item.id), limit + 1))
        shown = items[:limit]
        return Page(shown, shown[-1].id if len(items) > limit else None)

    def vectors(
        self, layer: Layer, ids: Sequence[str], *, missing: Missing = "error"
    ) -> dict[str, Vectors]:
        """Return the unit vectors of images at a layer, float32 [dimension], by id."""
        self.dimension(layer)
        rows: dict[Segment, dict[str, int]] = {}
        for image_id in ids:
            try:
                segment, row = self._locate_embedded(layer, image_id)
            except (NotFoundError, NotEmbeddedError):
                if missing == "error":
                    raise
            else:
                rows.setdefault(segment, {})[image_id] = row
        found = {
            image_id: vector
            for segment, row_of in rows.items()
            for image_id, vector in zip(
                row_of, segment.indexes[layer].reconstruct(tuple(row_of.values())), strict=True
            )
        }
        return {image_id: found[image_id] for image_id in ids if image_id in found}

    def image(self, image_id: str) -> bytes:
        """Return the image as a PNG."""
        return self.png(*self.locate(image_id))

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of an image as a JPEG, if it came with one."""
        if self.get(image_id).source != "bundle":
            return None
        return self.bundle_thumbnail(image_id)

    def outdated(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of these images that have the vectors of another network."""
        return self.outdated_ids.intersection(ids)

    def locate(self, image_id: str) -> tuple[Segment, int]:
        """Return the segment and the row of an image.

        Raises:
            NotFoundError: the image is not there.

        """
        for segment in reversed(self.segments):
            row = segment.row(image_id)
            if row is not None:
                return segment, row
        raise NotFoundError(f"The gallery has no image {image_id!r}.")

    def _locate_embedded(self, layer: Layer, image_id: str) -> tuple[Segment, int]:
        segment, row = self.locate(image_id)
        if layer not in segment.indexes:
            raise NotEmbeddedError(
                f"The image {image_id!r} has no vectors of this network yet: it is being embedded "
                "again. Retry later."
            )
        return segment, row

    def without(self, ids: Iterable[str]) -> Self:
        """Return this snapshot with images marked as deleted; unknown ids are ignored."""
        ids = list(ids)
        segments = []
        for segment in self.segments:
            rows = [row for one in ids if (row := segment.row(one)) is not None]
            segments.append(segment.without(rows) if rows else segment)
        return replace(self, segments=tuple(segments))

    def updated_segment(self, item: Item) -> Segment:
        """Return a segment of one image of this snapshot, with another label or attributes."""
        segment, row = self.locate(item.id)
        indexes = {
            layer: concatenate([(index, [row])], index.projection)
            for layer, index in segment.indexes.items()
        }
        return Segment((item,), segment.numbers[row : row + 1], indexes)

    def exchange(self, exchanged: Mapping[Segment, Segment | None]) -> Self:
        """Return this snapshot with segments replaced; None removes a segment."""
        segments = (exchanged.get(segment, segment) for segment in self.segments)
        return replace(self, segments=tuple(one for one in segments if one is not None))

    def _check(self, filter_: Filter) -> None:
        """Refuse labels that no image has: they are likely mistakes."""
        for label in (filter_.label, filter_.predicted):
            if label is not None and label not in self.classes and not self._is_label(label):
                raise no_such_label(label, self.classes)

    def _is_label(self, label: str) -> bool:
        return any(
            item.label == label and row not in segment.deleted
            for segment in self.segments
            for row, item in enumerate(segment.items)
        )

"""Finds gallery images whose label is in doubt, one page of images at a time.

The network and the nearest neighbours must both disagree with the label. A page is examined in
slices, so that other work is not kept waiting. Pure computation on data in memory; run it in a
thread pool. Knows nothing of requests.
"""

from collections import Counter
from collections.abc import Iterator
from math import sqrt
from operator import attrgetter
from typing import Final

import numpy as np

from service.gallery.protocol import View
from service.gallery.types import Filter, Item
from service.retrieval.convert import gallery_item
from service.schemas.gallery import DoubtfulItem, DoubtfulResponse
from training.bundle import Layer, Vectors, normalise

NEIGHBOURS: Final = 10
"""Neighbours that vote on a label."""
SLICE: Final = 64
"""Images that are examined at a time; most need no search, as the network agrees with the label."""


class DoubtSearch:
    """Examines a page of images for labels that network and neighbours disagree with."""

    def __init__(
        self, view: View, layer: Layer, *, count: int, after: str, filter_: Filter
    ) -> None:
        """Prepare to examine the `count` images after the id `after` that match `filter_`."""
        self._view = view
        self._layer = layer
        self._count = count
        self._filter = filter_
        self._found: list[DoubtfulItem] = []
        self._examined = 0
        self._next: str | None = after

    def examine_slice(self) -> bool:
        """Search the next images; return whether images of the page are left."""
        left = self._count - self._examined
        page = self._view.page(min(SLICE, left), after=self._next or "", filter_=self._filter)
        self._found += self._doubtful(page.items)
        self._examined += len(page.items)
        self._next = page.next
        return page.next is not None and self._examined < self._count

    def response(self) -> DoubtfulResponse:
        """Return the images found so far, most doubtful first, and where the next page begins."""
        ordered = sorted(self._found, key=attrgetter("doubt"), reverse=True)
        return DoubtfulResponse(
            layer=self._layer, items=tuple(ordered), looked_at=self._examined, next=self._next
        )

    def _doubtful(self, items: tuple[Item, ...]) -> Iterator[DoubtfulItem]:
        disputed = [item for item in items if item.predicted not in (None, item.label)]
        ids = [item.id for item in disputed]
        vectors = self._view.vectors(self._layer, ids, missing="skip")
        if not vectors:
            return
        ratings = self._view.vectors("logits", ids, missing="skip")
        queries = np.stack(list(vectors.values()))
        nearest = self._view.search(self._layer, queries, NEIGHBOURS + 1)  # with the image itself
        with_vectors = [item for item in disputed if item.id in vectors]
        for item, matches in zip(with_vectors, nearest, strict=True):
            others = [match for match in matches if match.item.id != item.id][:NEIGHBOURS]
            votes = Counter(match.item.label for match in others).most_common()
            if votes and votes[0][0] != item.label and item.id in ratings:
                yield DoubtfulItem(
                    **dict(gallery_item(item)),
                    doubt=self._margin(item, ratings[item.id]),
                    nearest=dict(votes),
                )

    def _margin(self, item: Item, rating: Vectors) -> float:
        """Return by how much the network rates its class above the label, from 0 to 1.

        Of the vector of logits less its mean, at unit length; that of an unknown label counts as 0.
        """
        unit = normalise(rating[None] - rating.mean())[0]
        classes = self._view.classes
        own = unit[classes.index(item.label)] if item.label in classes else 0.0
        return float(np.clip((unit.max() - own) / sqrt(2), 0, 1))

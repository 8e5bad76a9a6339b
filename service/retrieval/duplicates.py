"""Finds pairs of near-duplicates in the gallery, one page of images at a time.

A page is examined in slices, so that other work is not kept waiting. Pure computation on data in
memory; run it in a thread pool. Knows nothing of requests.
"""

import heapq
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Final

import numpy as np

from service.gallery.protocol import View
from service.gallery.types import Filter, Item
from service.retrieval.convert import gallery_item
from service.schemas.gallery import DuplicatesResponse, Pair
from training.bundle import Layer

NEAREST: Final = 100
"""Nearest neighbours that each image is compared with."""
MAX_PAIRS: Final = 10_000
"""Maximum number of pairs in a response, those with the highest scores."""
SLICE: Final = 8
"""Images that are examined at a time: 40 ms for 7,500 images, in one thread."""


class DuplicateSearch:
    """Searches a page of images for pairs of at least `threshold` cosine.

    An image is paired only with later ids, so that successive pages list each pair once.
    """

    def __init__(
        self, view: View, layer: Layer, threshold: float, *, count: int, after: str, filter_: Filter
    ) -> None:
        """Prepare to examine the `count` images after the id `after` that match `filter_`."""
        self._view = view
        self._layer = layer
        self._threshold = threshold
        self._count = count
        self._filter = filter_
        self._best: list[tuple[float, Item, Item]] = []
        self._examined = 0
        self._next: str | None = after

    def examine_slice(self) -> bool:
        """Search for the pairs of the next images; return whether images of the page are left."""
        left = self._count - self._examined
        page = self._view.page(min(SLICE, left), after=self._next or "", filter_=self._filter)
        found = chain(self._best, self._pairs(page.items))
        self._best = heapq.nlargest(MAX_PAIRS, found, key=itemgetter(0))
        self._examined += len(page.items)
        self._next = page.next
        return page.next is not None and self._examined < self._count

    def response(self) -> DuplicatesResponse:
        """Return the pairs found so far, best first, and where the next page begins."""
        pairs = tuple(
            Pair(first=gallery_item(first), second=gallery_item(second), score=score)
            for score, first, second in self._best
        )
        return DuplicatesResponse(
            layer=self._layer, pairs=pairs, looked_at=self._examined, next=self._next
        )

    def _pairs(self, items: tuple[Item, ...]) -> Iterator[tuple[float, Item, Item]]:
        vectors = self._view.vectors(self._layer, [item.id for item in items], missing="skip")
        if not vectors:
            return
        queries = np.stack(list(vectors.values()))
        found = self._view.search(self._layer, queries, NEAREST, filter_=self._filter)
        with_vectors = [item for item in items if item.id in vectors]
        for item, matches in zip(with_vectors, found, strict=True):
            for match in matches:
                if match.item.id > item.id and match.score >= self._threshold:
                    yield match.score, item, match.item

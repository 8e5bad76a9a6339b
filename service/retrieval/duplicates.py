"""Which images of the gallery are much alike, some of them at a time.

Pure computation on what is in memory, to be run off the event loop. Knows nothing of requests.
"""

import heapq
from collections.abc import Iterator
from typing import Final

import numpy as np

from service.gallery.protocol import View, vectors_of
from service.gallery.types import Filter, Item
from service.retrieval.convert import gallery_item
from service.schemas.gallery import DuplicatesResponse, Pair
from training.bundle import Layer

NEAREST: Final = 100
"""So many of each image's nearest are compared with it."""
PAIRS: Final = 10_000
"""So many pairs are told, those most alike."""


def find(
    view: View, layer: Layer, threshold: float, *, count: int, after: str, filter_: Filter
) -> DuplicatesResponse:
    """Pairs at or above a cosine, of the `count` images after `after`, each with those after it."""
    page = view.page(count, after=after, filter_=filter_)
    pairs = _pairs(view, layer, threshold, page.items, filter_)
    best = tuple(heapq.nlargest(PAIRS, pairs, key=lambda one: one.score))
    return DuplicatesResponse(layer=layer, pairs=best, looked_at=len(page.items), next=page.next)


def _pairs(
    view: View, layer: Layer, threshold: float, items: tuple[Item, ...], filter_: Filter
) -> Iterator[Pair]:
    vectors = vectors_of(view, layer, [item.id for item in items])
    if not vectors:
        return
    found = view.search(layer, np.stack(list(vectors.values())), NEAREST, filter_=filter_)
    there = [item for item in items if item.id in vectors]
    for item, matches in zip(there, found, strict=True):
        for match in matches:
            if match.item.id > item.id and match.score >= threshold:
                yield Pair(
                    first=gallery_item(item), second=gallery_item(match.item), score=match.score
                )

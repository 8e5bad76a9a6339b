"""Finds pairs of near-duplicates in the gallery, one page of images at a time.

Pure computation on data in memory; run it in a thread pool. Knows nothing of requests.
"""

import heapq
from collections.abc import Iterator
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


def find(
    view: View, layer: Layer, threshold: float, *, count: int, after: str, filter_: Filter
) -> DuplicatesResponse:
    """Find the pairs of at least `threshold` cosine among images that match `filter_`.

    Examines the `count` images after the id `after`. An image is paired only with later ids, so
    that successive pages list each pair once.
    """
    page = view.page(count, after=after, filter_=filter_)
    pairs = _pairs(view, layer, threshold, page.items, filter_)
    best = tuple(heapq.nlargest(MAX_PAIRS, pairs, key=lambda pair: pair.score))
    return DuplicatesResponse(layer=layer, pairs=best, looked_at=len(page.items), next=page.next)


def _pairs(
    view: View, layer: Layer, threshold: float, items: tuple[Item, ...], filter_: Filter
) -> Iterator[Pair]:
    vectors = view.vectors(layer, [item.id for item in items], missing="skip")
    if not vectors:
        return
    found = view.search(layer, np.stack(list(vectors.values())), NEAREST, filter_=filter_)
    with_vectors = [item for item in items if item.id in vectors]
    for item, matches in zip(with_vectors, found, strict=True):
        for match in matches:
            if match.item.id > item.id and match.score >= threshold:
                yield Pair(
                    first=gallery_item(item), second=gallery_item(match.item), score=match.score
                )

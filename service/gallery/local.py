"""A bundle's own gallery, in memory: it does not change.

Knows bundles and vectors; nothing of requests.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import product

import numpy as np

from service.errors import NotFoundError
from service.gallery import Item, Match, Page
from service.images import encode
from training.bundle import Bundle, CosineIndex, Layer, Vectors


class LocalGallery:
    """The gallery of a bundle, searched by its FAISS indexes."""

    def __init__(self, bundle: Bundle) -> None:
        classes, gallery = bundle.manifest.classes, bundle.gallery
        self._gallery = gallery
        self._indexes = bundle.indexes
        self._items = tuple(
            Item(image_id, classes[label], predicted)
            for image_id, label, predicted in zip(
                gallery.ids, gallery.labels, _predicted(bundle), strict=True
            )
        )
        self._in_order: dict[tuple[str | None, str | None], list[Item]] = defaultdict(list)
        for item in sorted(self._items, key=_id):
            for wanted in {*product((None, item.label), (None, item.predicted))}:
                self._in_order[wanted].append(item)
        self._positions = {
            label: np.flatnonzero(gallery.labels == number) for number, label in enumerate(classes)
        }

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that can be searched."""
        return tuple(self._indexes)

    def __len__(self) -> int:
        return len(self._items)

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        label: str | None = None,
        exact: bool = False,
    ) -> list[list[Match]]:
        """The `limit` nearest to each of the queries [N, dimension], best first."""
        among = None if label is None else self._positions[self._known(label)]
        found = self._index(layer).search(queries, limit, exact=exact, among=among)
        return [
            [
                Match(self._items[position], float(score))
                for score, position in zip(scores, positions, strict=True)
                if position >= 0  # FAISS pads with -1 where it finds fewer than asked
            ]
            for scores, positions in zip(*found, strict=True)
        ]

    def get(self, image_id: str) -> Item:
        """The image of that id."""
        return self._items[self._position(image_id)]

    def page(
        self,
        limit: int,
        *,
        after: str = "",
        label: str | None = None,
        predicted: str | None = None,
    ) -> Page:
        """Up to `limit` images whose ids come after `after`."""
        for name in (label, predicted):
            if name is not None:
                self._known(name)
        if predicted is not None:
            self._index("logits")
        items = self._in_order.get((label, predicted), [])
        start = bisect_right(items, after, key=_id)
        shown = tuple(items[start : start + limit])
        return Page(shown, shown[-1].id if start + limit < len(items) else None)

    def vectors(self, layer: Layer, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these images at a layer, [N, dimension]."""
        return self._index(layer).reconstruct([self._position(image_id) for image_id in ids])

    def image(self, image_id: str) -> bytes:
        """The image as a PNG; `NotFoundError` says why where there is none."""
        position = self._position(image_id)
        if self._gallery.pixels is None:
            raise NotFoundError(
                "This gallery has vectors and labels but no pixels: its images are not ours to "
                "pass on. A bundle built from your own copy of them has pixels."
            )
        return encode(np.asarray(self._gallery.pixels[position]))

    def _position(self, image_id: str) -> int:
        position = self._gallery.positions.get(image_id)
        if position is None:
            raise NotFoundError(f"The gallery has no image {image_id!r}.")
        return position

    def _known(self, label: str) -> str:
        if label not in self._positions:
            raise NotFoundError(f"No label {label!r}; there is {', '.join(self._positions)}.")
        return label

    def _index(self, layer: Layer) -> CosineIndex:
        index = self._indexes.get(layer)
        if index is None:
            known = ", ".join(self._indexes)
            raise NotFoundError(f"No layer {layer!r} is indexed; there is {known}.")
        return index


def _predicted(bundle: Bundle) -> Sequence[str | None]:
    """What each image is taken for: cosines keep a vector's direction, and so its largest logit."""
    logits = bundle.indexes.get("logits")
    if logits is None:
        return [None] * len(bundle.gallery)
    largest = logits.reconstruct(range(len(logits))).argmax(1)
    return [bundle.manifest.classes[index] for index in largest]


def _id(item: Item) -> str:
    return item.id

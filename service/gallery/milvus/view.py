"""Reads and searches the rows that one bundle's gallery shows: its own images and the added ones.

Knows rows and vectors; nothing of changes or requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import numpy as np

from service.errors import NoPixelsError, NotEmbeddedError, NotFoundError
from service.gallery.bundle_images import BundleImages
from service.gallery.milvus import rows
from service.gallery.milvus.collection import CHUNK, Collection, Row
from service.gallery.milvus.expressions import Expression, expression, to_expressions
from service.gallery.milvus.projection import StoredProjection
from service.gallery.milvus.rows import ADDED, SHOWN, key
from service.gallery.milvus.search import Hits, TwoStageSearch
from service.gallery.protocol import Missing, View
from service.gallery.types import MATCH_ALL, Filter, Item, Page, ScoredItem, no_such_label
from training.bundle import Bundle, Layer, Vectors, normalise

ADDED_ROWS = expression("bundle == {added}", added=ADDED)


class MilvusView(View):
    """Reads the rows as they are at each call: a Milvus has no snapshots."""

    is_frozen = False

    def __init__(
        self,
        bundle: Bundle,
        images: BundleImages,
        collection: Collection,
        projection: StoredProjection,
    ) -> None:
        self._network = bundle.network_id
        self._version = bundle.manifest.version
        self._has_pixels = bundle.manifest.gallery.pixels
        self._dimensions = {layer: index.dimension for layer, index in bundle.indexes.items()}
        self._bundle_images = images
        self.classes = images.classes
        self._rows = collection
        self._search_rows = TwoStageSearch(collection, projection, self._network)
        self._ours = expression("bundle in {bundles}", bundles=[ADDED, self._version])

    @property
    def dimensions(self) -> Mapping[Layer, int]:
        """The layers that can be searched, and the number of dimensions of their vectors."""
        return self._dimensions

    def __len__(self) -> int:
        return self._rows.count(self._ours)

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        filter_: Filter = MATCH_ALL,
        exact: bool = False,
    ) -> list[list[ScoredItem]]:
        """Return the `limit` nearest images to each of the queries [N, dimension], best first."""
        self.dimension(layer)
        unit = rows.fit(normalise(queries), self._rows.dimensions[layer])
        filters = [
            self._ours,
            expression("shape == {shape}", shape=rows.shape(self._dimensions)),
            *self._filters(filter_),
        ]
        found = self._search_rows.search(layer, unit, limit, filters, exact=exact)
        return [
            [
                ScoredItem(self._item(row), min(max(score, -1.0), 1.0))
                for row, score in _deduplicate(hits)
            ]
            for hits in found
        ]

    def get(self, image_id: str) -> Item:
        """Return the image of that id."""
        return self._item(self.require(image_id, SHOWN))

    def page(self, limit: int, *, after: str = "", filter_: Filter = MATCH_ALL) -> Page:
        """Return up to `limit` matching images whose ids follow `after`, by code points."""
        filters = [self._ours, *self._filters(filter_)]
        if after:
            filters.append(expression("key > {after}", after=key(after, "~")))
        found = self._rows.query(*filters, fields=SHOWN, limit=limit + 1, ordered=True)
        items: dict[str, Item] = {}
        for row in sorted(found, key=itemgetter("key")):  # an added image before the bundle's
            items.setdefault(row["id"], self._item(row))
        shown = tuple(items.values())[:limit]
        return Page(shown, shown[-1].id if len(found) > limit else None)

    def vectors(
        self, layer: Layer, ids: Sequence[str], *, missing: Missing = "error"
    ) -> dict[str, Vectors]:
        """Return the unit vectors of images at a layer, float32 [dimension], by id."""
        dimension = self.dimension(layer)
        found = self.find(ids, ("id", "bundle", "shape", layer))
        embedded = {
            image_id: row
            for image_id, row in found.items()
            if row["shape"] == rows.shape(self._dimensions)
        }
        for image_id in ids if missing == "error" else ():
            if image_id not in found:
                raise _no_image(image_id)
            if image_id not in embedded:
                raise NotEmbeddedError(
                    f"The image {image_id!r} has no vectors of this network yet: it is being "
                    "embedded again. Retry later."
                )
        return {
            image_id: np.array(embedded[image_id][layer][:dimension], np.float32)
            for image_id in ids
            if image_id in embedded
        }

    def image(self, image_id: str) -> bytes:
        """Return the image as a PNG."""
        row = self.require(image_id, ("id", "bundle", "image"))
        if row["bundle"] != ADDED:
            return self._bundle_images.image(image_id)
        png = rows.png_of(row)
        if png is None:
            raise NoPixelsError(f"The gallery has no pixels of {image_id!r}.")
        return png

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of an image as a JPEG, if it came with one."""
        if self.require(image_id, ("id", "bundle"))["bundle"] == ADDED:
            return None
        return self._bundle_images.thumbnail(image_id)

    def outdated(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of these images that have the vectors of another network."""
        found = self.find(ids, ("id", "bundle", "network"))
        return frozenset(one for one, row in found.items() if row["network"] != self._network)

    def find(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
        """Return the rows of those images that are there, by id.

        An added image hides the bundle's image of the same id.
        """
        found: dict[str, Row] = {}
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            keys = [key(one, owner) for one in chunk for owner in (ADDED, self._version)]
            for row in self._rows.query(expression("key in {keys}", keys=keys), fields=fields):
                if row["bundle"] == ADDED or row["id"] not in found:
                    found[row["id"]] = row
        return found

    def require(self, image_id: str, fields: Sequence[str]) -> Row:
        """Return the row of an image.

        Raises:
            NotFoundError: the image is not there.

        """
        row = self.find([image_id], fields).get(image_id)
        if row is None:
            raise _no_image(image_id)
        return row

    def png(self, row: Mapping[str, str]) -> bytes | None:
        """Return the PNG of a row with the fields `id`, `bundle` and `image`, if there is one."""
        if row["bundle"] == ADDED:
            return rows.png_of(dict(row))
        try:
            return self._bundle_images.image(row["id"])
        except NoPixelsError:
            return None

    def has_outdated(self) -> bool:
        """Return whether added images have another network's vectors; else skip that search."""
        outdated = self._rows.count(*self.outdated_rows()) > 0
        self._search_rows.has_outdated = outdated
        return outdated

    def outdated_rows(self) -> tuple[Expression, Expression]:
        """Return the expressions that match added images with another network's vectors."""
        return ADDED_ROWS, expression("network != {network}", network=self._network)

    def _item(self, row: Row) -> Item:
        """Return the image of a row; an added one has pixels, but for rare imports."""
        item = rows.item_of(row)
        return item if row["bundle"] == ADDED else replace(item, has_image=self._has_pixels)

    def _filters(self, filter_: Filter) -> list[Expression]:
        """Return the expressions of a filter.

        Raises:
            NotFoundError: a label that no image has.

        """
        for field, label in (("label", filter_.label), ("predicted", filter_.predicted)):
            if label is None or label in self.classes:
                continue
            one = expression(f"{field} == {{label}}", label=label)
            if not self._rows.query(self._ours, one, fields=("key",), limit=1):
                raise no_such_label(label, self.classes)
        return to_expressions(filter_)


def _deduplicate(hits: Hits) -> Hits:
    """Keep one row per image: while an added image replaces the bundle's, both may be there."""
    added = {row["id"] for row, _ in hits if row["bundle"] == ADDED}
    return [(row, score) for row, score in hits if row["bundle"] == ADDED or row["id"] not in added]


def _no_image(image_id: str) -> NotFoundError:
    return NotFoundError(f"The gallery has no image {image_id!r}.")

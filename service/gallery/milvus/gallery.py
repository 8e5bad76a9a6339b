"""The gallery on a Milvus: any number of services share it, and keep nothing themselves.

The bundle's own images are brought there once, by whichever service comes first; a bundle of
another version has rows of its own beside them, and what has been added is everybody's. Knows rows
and vectors; nothing of requests.

Milvus has no transactions. Each change is one row, or is in such an order that whoever looks
meanwhile, or after an end of the process, finds the old or the new. Of two services that change
the same image at the same moment, the later one wins.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from operator import itemgetter

import numpy as np

from service.errors import (
    ConflictError,
    KindredError,
    NoPixelsError,
    NotEmbeddedError,
    NotFoundError,
)
from service.gallery.bundle_images import BundleImages, same_pixels, says_the_same
from service.gallery.milvus import expressions, rows
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.bundle_sync import BundleSync
from service.gallery.milvus.collection import CHUNK, Collection, Row
from service.gallery.milvus.expressions import Expression, expression
from service.gallery.milvus.projection import FIELD, SIZE, StoredProjection
from service.gallery.milvus.rows import ADDED, SHOWN, key
from service.gallery.milvus.search import Hits, TwoStageSearch
from service.gallery.protocol import Gallery
from service.gallery.types import (
    MATCH_ALL,
    Added,
    Addition,
    Filter,
    Item,
    NewVectors,
    OutdatedImage,
    Page,
    ScoredItem,
)
from service.resources import RefCounted
from training.bundle import Bundle, Layer, Vectors, normalise

_ADDED_ROWS = expression("bundle == {added}", added=ADDED)


class MilvusGallery(Gallery):
    """The gallery of a bundle and what a Milvus keeps besides, as one."""

    def __init__(self, bundle: Bundle, shared: RefCounted[Collection]) -> None:
        self._network = bundle.network_id
        self._version = bundle.manifest.version
        self._dimensions = {layer: index.dimension for layer, index in bundle.indexes.items()}
        self._bundle_images = BundleImages(bundle)
        self._shared = shared
        with ExitStack() as stack:
            self._rows = stack.enter_context(shared.acquire())
            self._load(bundle)
            self._use = stack.pop_all()

    def _load(self, bundle: Bundle) -> None:
        self._rows.require(rows.widths(self._dimensions))
        projection = StoredProjection.of(bundle, self._rows)
        self._projection = projection
        self._bundle_sync = BundleSync(bundle, self._bundle_images, self._rows, projection)
        self._search_rows = TwoStageSearch(self._rows, projection, self._network)
        self._ours = expression("bundle in {bundles}", bundles=[ADDED, self._version])
        with self._rows.writing:
            self._bundle_sync.sync()

    @classmethod
    def open(cls, bundle: Bundle, place: MilvusAddress) -> "MilvusGallery":
        """Open what a Milvus keeps; bring the bundle's images there if nobody has.

        Raises:
            UnavailableError: the Milvus cannot be reached.
            StorageError: it has no room, or its collection is for other vectors.

        """
        dimensions = {layer: index.dimension for layer, index in bundle.indexes.items()}
        widths = {**rows.widths(dimensions), FIELD: SIZE}
        collection = Collection(place, widths, graphs=[FIELD])
        shared = RefCounted(collection, collection.close)
        try:
            return cls(bundle, shared)
        finally:
            shared.release()

    @property
    def network(self) -> str:
        """Whose vectors these are."""
        return self._network

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that can be searched."""
        return tuple(self._dimensions)

    def __len__(self) -> int:
        return self._rows.count(self._ours)

    @property
    def added(self) -> int:
        """How many images have been added to those of the bundle."""
        return self._rows.count(_ADDED_ROWS)

    @property
    def outdated_count(self) -> int:
        """How many others made, and have pixels to renew them by; none for an older bundle."""
        self._search_rows.has_outdated = self._rows.count(*self._outdated()) > 0
        if not (self._search_rows.has_outdated and self._bundle_sync.is_latest()):
            return 0
        return self._rows.count(*self._reembeddable())

    def snapshot(self) -> "MilvusGallery":
        """The gallery: a Milvus has no other state to give than the one that it is in."""
        return self

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        filter_: Filter = MATCH_ALL,
        exact: bool = False,
    ) -> list[list[ScoredItem]]:
        """The `limit` nearest to each of the queries [N, dimension], best first."""
        self._require_layer(layer)
        unit = rows.fit(normalise(queries), self._rows.dimensions[layer])
        among = [
            self._ours,
            expression("shape == {shape}", shape=rows.shape(self._dimensions)),
            *self._filters(filter_),
        ]
        found = self._search_rows.search(layer, unit, limit, among, exact=exact)
        return [[_match(row, score) for row, score in _deduplicate(hits)] for hits in found]

    def get(self, image_id: str) -> Item:
        """The image of that id."""
        return rows.item_of(self._require(image_id, SHOWN))

    def page(self, limit: int, *, after: str = "", filter_: Filter = MATCH_ALL) -> Page:
        """Up to `limit` of the wanted images whose ids come after `after`."""
        among = [self._ours, *self._filters(filter_)]
        if after:
            among.append(expression("key > {after}", after=key(after, "~")))
        found = self._rows.query(*among, fields=SHOWN, limit=limit + 1, ordered=True)
        items: dict[str, Item] = {}
        for row in sorted(found, key=itemgetter("key")):  # an added one before the bundle's
            items.setdefault(row["id"], rows.item_of(row))
        shown = tuple(items.values())[:limit]
        return Page(shown, shown[-1].id if len(found) > limit else None)

    def vectors(self, layer: Layer, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these images at a layer, float32 [N, dimension]."""
        self._require_layer(layer)
        found = self._find(ids, ("id", "bundle", "shape", layer))
        filter_ = rows.shape(self._dimensions)
        for image_id in ids:
            if image_id not in found:
                raise _no_image(image_id)
            if found[image_id]["shape"] != filter_:
                raise NotEmbeddedError(
                    f"The vectors of {image_id!r} are another network's: ask again when it has "
                    "been embedded anew."
                )
        dimension = self._dimensions[layer]
        vectors = [found[image_id][layer][:dimension] for image_id in ids]
        return np.array(vectors, np.float32).reshape(len(ids), dimension)

    def image(self, image_id: str) -> bytes:
        """The image as a PNG; `NotFoundError` says why where there is none."""
        row = self._require(image_id, ("id", "bundle", "image"))
        if row["bundle"] != ADDED:
            return self._bundle_images.image(image_id)
        png = rows.png_of(row)
        if png is None:
            raise NoPixelsError(f"The gallery has no pixels of {image_id!r}.")
        return png

    def outdated(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these images whose vectors another network made."""
        found = self._find(ids, ("id", "bundle", "network"))
        return frozenset(one for one, row in found.items() if row["network"] != self._network)

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> list[Added | KindredError]:
        """Keep images, all of those that can be in one go; each has its own outcome, in order."""
        with self._rows.writing:
            ids = list(dict.fromkeys(addition.item.id for addition in additions))
            before = self._find(ids, (*SHOWN, "image"))
            put: dict[str, Row] = {}
            outcomes: list[Added | KindredError] = []
            for addition in additions:
                image_id = addition.item.id
                outcome = self._outcome(
                    addition, put.get(image_id) or before.get(image_id), replace
                )
                if isinstance(outcome, Added) and outcome.outcome != "unchanged":
                    put[image_id] = self._row(addition)
                outcomes.append(outcome)
            hidden = [image_id for image_id in put if self._bundle_images.get(image_id)]
            self._rows.upsert([*map(self._bundle_sync.removal, hidden), *put.values()])
            self._bundle_sync.delete_everywhere(list(put))
            return outcomes

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Item:
        """Replace an image's label, `label_predicted` or attributes."""
        with self._rows.writing:
            row = self._require(image_id, SHOWN)
            before = rows.item_of(row)
            said = change(before)
            item = dataclasses.replace(
                before,
                label=said.label,
                label_predicted=said.label_predicted,
                attributes=said.attributes,
            )
            if row["bundle"] == ADDED:
                self._rows.upsert([{"key": key(image_id), **rows.of_edit(item)}], partial=True)
            else:
                self._bundle_sync.edit(item)
            return item

    def remove(self, image_id: str) -> None:
        """Take an image away, be it added or the bundle's."""
        with self._rows.writing:
            self._require(image_id, ("id", "bundle"))
            if self._bundle_images.get(image_id):
                self._rows.upsert([self._bundle_sync.removal(image_id)])
            self._rows.delete([key(image_id)])
            self._bundle_sync.delete_everywhere([image_id])

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Some of the stale images, to be embedded anew; none when all are done.

        Nor are there any where a service with another bundle came later: while one network follows
        another, those of the old would undo what those of the new do.
        """
        if not self._bundle_sync.is_latest():
            return []
        found = self._rows.query(
            *self._reembeddable(), fields=("id", "revision", "image"), limit=limit
        )
        return [OutdatedImage(row["id"], row["revision"], rows.png_of(row) or b"") for row in found]

    def renew(self, renewed: Sequence[NewVectors]) -> None:
        """Give images their new vectors; those that have changed or gone meanwhile are left."""
        with self._rows.writing:
            found = self._find([one.id for one in renewed], (*SHOWN, "revision"))
            changed = []
            for one in renewed:
                row = found.get(one.id)
                if row is None or row["bundle"] != ADDED or row["revision"] != one.revision:
                    continue
                label = one.predicted if row["label_predicted"] else row["label"]
                changed.append(
                    {
                        "key": key(one.id),
                        "predicted": one.predicted,
                        "label": label,
                        "network": one.network,
                        **self._projection.field(
                            rows.renewed(one.vectors, self._rows.dimensions), one.vectors
                        ),
                    }
                )
            self._rows.upsert(changed, partial=True)

    def rebind(self, bundle: Bundle) -> "MilvusGallery":
        """The same images with another bundle's: what is kept is shared, each sees all changes."""
        return MilvusGallery(bundle, self._shared)

    def close(self) -> None:
        """Give up what is open. What others opened with `under` stays open."""
        self._use.close()

    def _find(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
        """The rows of these images that are there, by id; an added one hides a bundle's."""
        found: dict[str, Row] = {}
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            keys = [key(one, whose) for one in some for whose in (ADDED, self._version)]
            for row in self._rows.query(expression("key in {keys}", keys=keys), fields=fields):
                if row["bundle"] == ADDED or row["id"] not in found:
                    found[row["id"]] = row
        return found

    def _require(self, image_id: str, fields: Sequence[str]) -> Row:
        row = self._find([image_id], fields).get(image_id)
        if row is None:
            raise _no_image(image_id)
        return row

    def _require_layer(self, layer: Layer) -> None:
        if layer not in self._dimensions:
            known = ", ".join(self._dimensions)
            raise NotFoundError(f"No layer {layer!r} is indexed; there is {known}.")

    def _filters(self, filter_: Filter) -> list[Expression]:
        """What makes an image a wanted one.

        Raises:
            NotFoundError: a label that nothing has.

        """
        for field, label in (("label", filter_.label), ("predicted", filter_.predicted)):
            if label is None or label in self._bundle_images.classes:
                continue
            one = expression(f"{field} == {{label}}", label=label)
            if not self._rows.query(self._ours, one, fields=("key",), limit=1):
                known = ", ".join(self._bundle_images.classes)
                raise NotFoundError(f"No label {label!r}; there is {known}.")
        return expressions.to_expressions(filter_)

    def _outdated(self) -> tuple[Expression, ...]:
        return _ADDED_ROWS, expression("network != {network}", network=self._network)

    def _reembeddable(self) -> tuple[Expression, ...]:
        return *self._outdated(), expression("image != {nothing}", nothing="")

    def _row(self, addition: Addition) -> Row:
        row = rows.of_added(addition, self._rows.dimensions)
        if addition.network != self._network:
            return row
        return self._projection.field(row, addition.vectors)

    def _outcome(self, addition: Addition, row: Row | None, replace: bool) -> Added | ConflictError:
        item = dataclasses.replace(addition.item, source="added")
        if row is None:
            return Added(item, "created")
        before = rows.item_of(row)
        kept = self._png(row)
        same = kept is not None and same_pixels(kept, addition.png)
        if same and (not replace or says_the_same(before, item)):
            return Added(before, "unchanged")
        if not replace:
            return ConflictError(
                f"There is another image {item.id!r} already: give this one another id, or "
                "replace that one with PUT."
            )
        return Added(item, "replaced")

    def _png(self, row: Mapping[str, str]) -> bytes | None:
        if row["bundle"] == ADDED:
            return rows.png_of(dict(row))
        try:
            return self._bundle_images.image(row["id"])
        except NotFoundError:
            return None


def _deduplicate(hits: Hits) -> Hits:
    """Each image once: while one replaces the bundle's, both may be there for a moment."""
    added = {row["id"] for row, _ in hits if row["bundle"] == ADDED}
    return [(row, score) for row, score in hits if row["bundle"] == ADDED or row["id"] not in added]


def _match(row: Row, score: float) -> ScoredItem:
    return ScoredItem(rows.item_of(row), min(max(score, -1.0), 1.0))


def _no_image(image_id: str) -> NotFoundError:
    return NotFoundError(f"The gallery has no image {image_id!r}.")

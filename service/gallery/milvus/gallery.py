"""The gallery on a Milvus: any number of services share it, and store nothing themselves.

The first service with a bundle writes the bundle's own images. Another bundle version has rows of
its own; added images belong to all. Knows rows and vectors; nothing of requests.

Milvus has no transactions. So each change is one row, or is ordered so that readers find the old
state or the new one, even after a crash. If two services change one image at the same moment, the
later change wins.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Final

from service.errors import ConflictError, KindredError, StorageError
from service.gallery.bundle_images import BundleImages, outcome_of, same_pixels
from service.gallery.milvus import rows
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.bundle_sync import BundleSync
from service.gallery.milvus.collection import Collection, Row
from service.gallery.milvus.expressions import Expression, expression
from service.gallery.milvus.projection import SIZE, StoredProjection, field_of
from service.gallery.milvus.rows import ADDED, SHOWN, key
from service.gallery.milvus.view import ADDED_ROWS, MilvusView
from service.gallery.protocol import Gallery
from service.gallery.types import Added, Addition, Item, NewVectors, OutdatedImage, Override
from service.resources import RefCounted
from training.bundle import Bundle

MAX_SIDE: Final = 128
"""A text field of Milvus holds 48 KB of an image; a lossless one of 128 x 128 has 48 at most."""


class MilvusGallery(Gallery):
    """The images of a bundle, with the changes stored on a Milvus."""

    def __init__(self, bundle: Bundle, shared: RefCounted[Collection]) -> None:
        self.side = bundle.spec.side
        self._shared = shared
        with ExitStack() as stack:
            self._rows = stack.enter_context(shared.acquire())
            bundle = _with_layers_of(self._rows, bundle)
            self.network = bundle.network_id
            self._load(bundle)
            self._use = stack.pop_all()

    def _load(self, bundle: Bundle) -> None:
        self._rows.require(rows.widths(bundle.indexes))
        self._bundle_images = BundleImages(bundle)
        self._projection = StoredProjection.of(bundle, self._rows)
        self._bundle_sync = BundleSync(bundle, self._bundle_images, self._rows, self._projection)
        self._view = MilvusView(bundle, self._bundle_images, self._rows, self._projection)
        self._rows.writer.submit(self._bundle_sync.sync).result()

    @classmethod
    def open(cls, bundle: Bundle, address: MilvusAddress) -> "MilvusGallery":
        """Open the gallery on a Milvus; write the bundle's images there if they are missing.

        Raises:
            UnavailableError: the Milvus cannot be reached.
            StorageError: it has no room, its collection is for other vectors, or the images are
                too large for it.

        """
        if bundle.spec.side > MAX_SIDE:
            raise StorageError(
                f"The network of {bundle.path} sees images of {bundle.spec.side} x "
                f"{bundle.spec.side} pixels, and a Milvus stores at most {MAX_SIDE} x {MAX_SIDE}: "
                "set KINDRED_GALLERY to a folder."
            )
        projected = field_of(bundle.spec.searched[0])
        widths = {**rows.widths(bundle.indexes), projected: SIZE}
        optional = {*bundle.indexes} - {*bundle.architecture.spec.searched}
        collection = Collection(address, widths, graphs=[projected], optional=optional)
        shared = RefCounted(collection, collection.close)
        try:
            return cls(bundle, shared)
        finally:
            shared.release()

    @property
    def added(self) -> int:
        """The number of images added to those of the bundle."""
        return self._rows.count(ADDED_ROWS)

    @property
    def outdated_count(self) -> int:
        """The number of images to embed again; 0 if a service with a newer bundle will do it."""
        if not (self._view.has_outdated() and self._bundle_sync.is_latest()):
            return 0
        return self._rows.count(*self._reembeddable())

    def __len__(self) -> int:
        return len(self._view)

    def snapshot(self) -> MilvusView:
        """Return the view of the rows as they are at each call: a Milvus has no snapshots."""
        return self._view

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> Future[list[Added | KindredError]]:
        """Store images; return the outcome of each, in order."""
        return self._rows.writer.submit(self._add, additions, replace=replace)

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Future[Item]:
        """Replace the label, `label_predicted` and attributes of an image; return the new item."""
        return self._rows.writer.submit(self._edit, image_id, change)

    def remove(self, image_id: str) -> Future[None]:
        """Remove an image for good, whether it was added or came with the bundle."""
        return self._rows.writer.submit(self._remove, image_id)

    def atomic(self) -> AbstractContextManager[None]:
        """Return a block without effect: a Milvus has no transactions."""
        return nullcontext()

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Return up to `limit` images to embed again; empty if all are up to date.

        It is empty too if a service with a newer bundle shares the Milvus: services with two
        networks would otherwise undo each other's work without end.
        """
        if not self._bundle_sync.is_latest():
            return []
        found = self._rows.query(
            *self._reembeddable(), fields=("id", "revision", "image"), limit=limit
        )
        return [OutdatedImage(row["id"], row["revision"], rows.png_of(row) or b"") for row in found]

    def renew(self, renewed: Sequence[NewVectors]) -> Future[None]:
        """Store new vectors; skip images that have been changed or removed since."""
        return self._rows.writer.submit(self._renew, renewed)

    def rebind(self, bundle: Bundle) -> "MilvusGallery":
        """Return a gallery of the same collection with another bundle."""
        return MilvusGallery(bundle, self._shared)

    def close(self) -> None:
        """Release all resources. Galleries from `rebind` stay open."""
        self._use.close()

    def _add(self, additions: Sequence[Addition], *, replace: bool) -> list[Added | KindredError]:
        ids = list(dict.fromkeys(addition.item.id for addition in additions))
        before = self._view.find(ids, (*SHOWN, "image"))
        put: dict[str, Row] = {}
        outcomes: list[Added | KindredError] = []
        for addition in additions:
            image_id = addition.item.id
            outcome = self._outcome(addition, put.get(image_id) or before.get(image_id), replace)
            if isinstance(outcome, Added) and outcome.outcome != "unchanged":
                put[image_id] = self._row(addition)
            outcomes.append(outcome)
        hidden = [image_id for image_id in put if self._bundle_images.get(image_id)]
        self._rows.upsert([*self._removals(hidden), *put.values()])
        self._bundle_sync.delete_everywhere(list(put))
        return outcomes

    def _edit(self, image_id: str, change: Callable[[Item], Item]) -> Item:
        row = self._view.require(image_id, SHOWN)
        before = rows.item_of(row)
        item = before.annotated_as(change(before))
        if row["bundle"] == ADDED:
            self._rows.upsert([{"key": key(image_id), **rows.of_edit(item)}], partial=True)
        else:
            self._bundle_sync.edit(Override.edit(item))
        return item

    def _remove(self, image_id: str) -> None:
        self._view.require(image_id, ("id", "bundle"))
        if self._bundle_images.get(image_id):
            self._rows.upsert(self._removals([image_id]))
        self._rows.delete([key(image_id)])
        self._bundle_sync.delete_everywhere([image_id])

    def _renew(self, renewed: Sequence[NewVectors]) -> None:
        found = self._view.find([one.id for one in renewed], (*SHOWN, "revision"))
        changed = []
        for one in renewed:
            row = found.get(one.id)
            if row is None or row["bundle"] != ADDED or row["revision"] != one.revision:
                continue
            changed.append(
                {
                    "key": key(one.id),
                    "predicted": one.predicted or "",
                    "label": one.predicted or "" if row["label_predicted"] else row["label"],
                    "network": one.network,
                    **self._projection.complete(
                        rows.renewed(one.vectors, self._rows.dimensions), one.vectors
                    ),
                }
            )
        self._rows.upsert(changed, partial=True)

    def _removals(self, ids: Sequence[str]) -> list[Row]:
        widths = self._rows.dimensions
        return [rows.of_override(Override(one, deleted=True), widths) for one in ids]

    def _reembeddable(self) -> tuple[Expression, ...]:
        return *self._view.outdated_rows(), expression("image != {nothing}", nothing="")

    def _row(self, addition: Addition) -> Row:
        row = rows.of_added(addition, self._rows.dimensions)
        if addition.network != self.network:
            return row
        return self._projection.complete(row, addition.vectors)

    def _outcome(self, addition: Addition, row: Row | None, replace: bool) -> Added | ConflictError:
        item = dataclasses.replace(addition.item, source="added")
        if row is None:
            return outcome_of(item, None, same_pixels=False, replace=replace)
        png = self._view.png(row)
        same = png is not None and same_pixels(png, addition.png)
        return outcome_of(item, rows.item_of(row), same_pixels=same, replace=replace)


def _with_layers_of(collection: Collection, bundle: Bundle) -> Bundle:
    """Return a bundle without the indexes that an older collection has no field for.

    The layers that every bundle of its network has stay: without them the collection does not fit.
    """
    required = bundle.architecture.spec.searched
    return dataclasses.replace(
        bundle,
        indexes={
            layer: index
            for layer, index in bundle.indexes.items()
            if layer in required or layer in collection.dimensions
        },
    )

"""What each change does to what is kept, and what it leaves alone.

Knows the store and the bundle's images; nothing of what is searched. Every method is called in a
transaction, and says in `events` what has become of which image.
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from service.errors import ConflictError, KindredError, NotFoundError
from service.gallery.bundle_images import BundleImages, same_pixels, says_the_same
from service.gallery.local.store import Row, Store
from service.gallery.local.writer import Deleted, Events, Updated, Upserted
from service.gallery.types import Added, Addition, Item, NewVectors
from training.bundle import Fp16Vectors, Vectors, normalise


class Updates:
    """The changes of a store over one bundle's images."""

    def __init__(self, store: Store, base: BundleImages) -> None:
        self._store = store
        self._bundle_images = base

    def add(
        self, additions: Sequence[Addition], events: Events, *, replace: bool
    ) -> list[Added | KindredError]:
        """Keep images; those that cannot be have their own errors."""
        outcomes: list[Added | KindredError] = []
        for addition in additions:
            try:
                outcomes.append(self._add(addition, events, replace=replace))
            except ConflictError as error:
                outcomes.append(error)
        return outcomes

    def edit(self, image_id: str, change: Callable[[Item], Item], events: Events) -> Item:
        """Keep another label, or other attributes, of an image."""
        row = self._store.find(image_id)
        before = self._require(image_id, row)
        wanted = change(before)
        item = dataclasses.replace(
            before,
            label=wanted.label,
            label_predicted=wanted.label_predicted,
            attributes=wanted.attributes,
        )
        if row:
            self._store.edit(item)
        else:
            self._store.edit_of_bundle(item)
        events[image_id] = Updated(item)
        return item

    def remove(self, image_id: str, events: Events) -> None:
        """Forget an image, and never show the bundle's of that id again."""
        row = self._store.find(image_id)
        self._require(image_id, row)
        if row:
            self._store.delete(row.number)
        if self._bundle_images.get(image_id):
            self._store.remove(image_id)
        events[image_id] = Deleted()

    def renew(self, renewed: Sequence[NewVectors], events: Events) -> None:
        """Keep other vectors of the images that are still those."""
        for one in renewed:
            row = self._store.find(one.id)
            if row is None or row.number != one.revision:
                continue
            vectors = {layer: to_fp16(vector) for layer, vector in one.vectors.items()}
            item = dataclasses.replace(row.item, predicted=one.predicted)
            if item.label_predicted:
                item = dataclasses.replace(item, label=one.predicted)
            self._store.renew(row.number, item, one.network, vectors)
            events[one.id] = Upserted(row.number, item, one.network, vectors)

    def _add(self, addition: Addition, events: Events, *, replace: bool) -> Added:
        item = dataclasses.replace(addition.item, source="added")
        row = self._store.find(item.id)
        before = self._current(item.id, row)
        if before is not None:
            same = self._has_pixels(item.id, row, addition.png)
            if same and (not replace or says_the_same(before, item)):
                return Added(before, "unchanged")
            if not replace:
                raise ConflictError(
                    f"There is another image {item.id!r} already: give this one another id, or "
                    "replace that one with PUT."
                )
        if row:
            self._store.delete(row.number)
        if self._bundle_images.get(item.id):
            self._store.remove(item.id)
        vectors = {layer: to_fp16(vector) for layer, vector in addition.vectors.items()}
        number = self._store.insert(item, addition.network, addition.png, vectors)
        events[item.id] = Upserted(
            number, item, addition.network, vectors, has_pixels=addition.png is not None
        )
        return Added(item, "replaced" if before else "created")

    def _current(self, image_id: str, row: Row | None) -> Item | None:
        """The image of that id as it is now, if there is one."""
        if row:
            return row.item
        item = self._bundle_images.get(image_id)
        if item is None or self._store.is_removed(image_id):
            return None
        edit = self._store.edit_of(image_id)
        return edit.of(item) if edit else item

    def _require(self, image_id: str, row: Row | None) -> Item:
        item = self._current(image_id, row)
        if item is None:
            raise NotFoundError(f"The gallery has no image {image_id!r}.")
        return item

    def _has_pixels(self, image_id: str, row: Row | None, png: bytes | None) -> bool:
        """Whether an image that is there has these pixels, however they are packed."""
        try:
            kept = (
                self._store.png_in_transaction(row.number)
                if row
                else self._bundle_images.image(image_id)
            )
        except NotFoundError:
            return False
        return same_pixels(kept, png)


def to_fp16(vector: Vectors) -> Fp16Vectors:
    """A vector [dimension] at length 1, as it is kept."""
    # PyTorch rounds alike, in a fifteenth of NumPy's time.
    halves: Fp16Vectors = torch.from_numpy(normalise(vector)[0]).half().numpy()
    return halves

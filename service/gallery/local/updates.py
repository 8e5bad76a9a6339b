"""Applies each change to the store, and returns its events.

Knows the store and the bundle's images; nothing of searching. Call every method in a transaction.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from service.errors import ConflictError, KindredError, NotFoundError
from service.gallery.bundle_images import BundleImages, outcome_of, same_pixels
from service.gallery.local.events import Change, Deleted, Event, Updated, Upserted
from service.gallery.local.store import Row, Store
from service.gallery.types import Added, Addition, Item, NewVectors, Override
from training.bundle import Fp16Vectors, Vectors, normalise


class Updates:
    """Changes a store on top of one bundle's images."""

    def __init__(self, store: Store, images: BundleImages) -> None:
        self._store = store
        self._bundle_images = images

    def add(
        self, additions: Sequence[Addition], *, replace: bool
    ) -> Change[list[Added | KindredError]]:
        """Store images; the result has the outcome of each, a `ConflictError` where refused."""
        outcomes: list[Added | KindredError] = []
        events: dict[str, Event] = {}
        for addition in additions:
            outcome, event = self._add(addition, replace=replace)
            outcomes.append(outcome)
            if event is not None:
                events[addition.item.id] = event
        return Change(outcomes, events)

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Change[Item]:
        """Store another label, or other attributes, of an image.

        Raises:
            NotFoundError: the image is not there.

        """
        row = self._store.find(image_id)
        before = self._require(image_id, row)
        item = before.annotated_as(change(before))
        if row:
            self._store.edit(item)
        else:
            self._store.set_override(Override.edit(item))
        return Change(item, {image_id: Updated(item)})

    def remove(self, image_id: str) -> Change[None]:
        """Delete an image, and hide the bundle's image of that id for good.

        Raises:
            NotFoundError: the image is not there.

        """
        row = self._store.find(image_id)
        self._require(image_id, row)
        if row:
            self._store.delete(row.number)
        if self._bundle_images.get(image_id):
            self._store.set_override(Override(image_id, deleted=True))
        return Change(None, {image_id: Deleted()})

    def renew(self, renewed: Sequence[NewVectors]) -> Change[None]:
        """Store new vectors of the images that have not changed since."""
        events: dict[str, Event] = {}
        for one in renewed:
            row = self._store.find(one.id)
            if row is None or row.number != one.revision:
                continue
            vectors = {layer: to_fp16(vector) for layer, vector in one.vectors.items()}
            item = dataclasses.replace(row.item, predicted=one.predicted)
            if item.label_predicted:
                item = dataclasses.replace(item, label=one.predicted or "")
            self._store.renew(row.number, item, one.network, vectors)
            events[one.id] = Upserted(row.number, item, one.network, vectors)
        return Change(None, events)

    def _add(
        self, addition: Addition, *, replace: bool
    ) -> tuple[Added | ConflictError, Event | None]:
        item = dataclasses.replace(
            addition.item, source="added", has_image=addition.png is not None
        )
        row = self._store.find(item.id)
        before = self._current(item.id, row)
        same = before is not None and self._has_pixels(item.id, row, addition.png)
        outcome = outcome_of(item, before, same_pixels=same, replace=replace)
        if isinstance(outcome, ConflictError) or outcome.outcome == "unchanged":
            return outcome, None
        if row:
            self._store.delete(row.number)
        if self._bundle_images.get(item.id):
            self._store.set_override(Override(item.id, deleted=True))
        vectors = {layer: to_fp16(vector) for layer, vector in addition.vectors.items()}
        number = self._store.insert(item, addition.network, addition.png, vectors)
        event = Upserted(
            number, item, addition.network, vectors, has_pixels=addition.png is not None
        )
        return outcome, event

    def _current(self, image_id: str, row: Row | None) -> Item | None:
        """Return the image of that id as it is now, if there is one."""
        if row:
            return row.item
        item = self._bundle_images.get(image_id)
        override = self._store.overrides(image_id).get(image_id) if item else None
        return override.apply(item) if item and override else item

    def _require(self, image_id: str, row: Row | None) -> Item:
        item = self._current(image_id, row)
        if item is None:
            raise NotFoundError(f"The gallery has no image {image_id!r}.")
        return item

    def _has_pixels(self, image_id: str, row: Row | None, png: bytes | None) -> bool:
        """Return whether the stored image has the pixels of a PNG, however it is compressed."""
        try:
            stored = (
                self._store.png_in_transaction(row.number)
                if row
                else self._bundle_images.image(image_id)
            )
        except NotFoundError:
            return False
        return same_pixels(stored, png)


def to_fp16(vector: Vectors) -> Fp16Vectors:
    """Return a vector [dimension] at length 1, in the precision of the store."""
    fp16: Fp16Vectors = normalise(vector)[0].astype(np.float16)
    return fp16

"""The gallery on this machine: a bundle's images in memory, and changes to them in SQLite.

Searches read a snapshot that never changes; each commit replaces it by a new one. So a search never
waits for a change. Knows bundles and vectors; nothing of requests.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path

import numpy as np

from service.errors import KindredError, NoPixelsError, NotFoundError
from service.gallery.bundle_images import BundleImages
from service.gallery.local.compaction import Compactor, merge_small
from service.gallery.local.events import Deleted, Events, Updated, Upserted
from service.gallery.local.snapshot import Snapshot
from service.gallery.local.store import Store
from service.gallery.local.updates import Updates
from service.gallery.local.writer import GroupCommitWriter
from service.gallery.protocol import Gallery
from service.gallery.segment import OF_BUNDLE, Segment
from service.gallery.types import Added, Addition, Item, NewVectors, OutdatedImage
from training.bundle import Bundle, Layer, Projection, from_fp16

logger = logging.getLogger(__name__)


class LocalGallery(Gallery):
    """The images of a bundle, with the changes stored in a folder."""

    def __init__(self, bundle: Bundle, writer: GroupCommitWriter) -> None:
        self.network = bundle.network_id
        self.side = bundle.spec.side
        self._writer = writer
        self._bundle_images = BundleImages(bundle)
        self._updates = Updates(writer.store, self._bundle_images)
        self._compactor = Compactor(self._exchange)
        self._outdated: set[str] = set()
        self._reembeddable: set[str] = set()  # outdated images that have pixels
        self._png = partial(_png, writer.store, self._bundle_images)
        self._snapshot = Snapshot(
            (self._bundle_images.segment,),
            self._bundle_images.classes,
            self._png,
            self._bundle_images.thumbnail,
        )
        with ExitStack() as stack:
            stack.enter_context(writer.shared.acquire())
            writer.attach(self)
            stack.callback(writer.detach, self)
            self._use = stack.pop_all()

    @classmethod
    def open(cls, bundle: Bundle, folder: Path) -> "LocalGallery":
        """Open the gallery of a folder for reading and changing; the folder may be missing.

        If another process has locked the folder, the gallery can be read, and changed once that
        process has ended.

        Raises:
            StorageError: the database cannot be read.

        """
        store = Store(folder)
        if store.exists:
            try:
                store.lock()
            except KindredError as error:
                logger.warning("The gallery cannot be changed for now: %s", error.detail)
        writer = GroupCommitWriter(store)
        try:
            return cls(bundle, writer)
        finally:
            writer.shared.release()

    @property
    def folder(self) -> Path:
        """The folder that has the changes."""
        return self._writer.store.folder

    @property
    def added(self) -> int:
        """The number of images added to those of the bundle."""
        return self._snapshot.added

    @property
    def outdated_count(self) -> int:
        """The number of added images with another network's vectors, and pixels to embed again."""
        return len(self._reembeddable)

    def __len__(self) -> int:
        return len(self._snapshot)

    def snapshot(self) -> Snapshot:
        """Return the gallery as it is now; a snapshot never changes."""
        return self._snapshot

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> Future[list[Added | KindredError]]:
        """Store images in one transaction; return the outcome of each, in order."""
        return self._writer.submit(lambda: self._updates.add(additions, replace=replace))

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Future[Item]:
        """Replace the label, `label_predicted` and attributes of an image; return the new item."""
        return self._writer.submit(lambda: self._updates.edit(image_id, change))

    def remove(self, image_id: str) -> Future[None]:
        """Remove an image for good, whether it was added or came with the bundle."""
        return self._writer.submit(lambda: self._updates.remove(image_id))

    def atomic(self) -> AbstractContextManager[None]:
        """Store all changes of the block together, or none; for one user at a time."""
        return self._writer.atomic()

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Return up to `limit` images to embed again; empty if all are up to date."""
        with self._writer.lock:
            return self._writer.store.outdated(self.network, limit)

    def renew(self, renewed: Sequence[NewVectors]) -> Future[None]:
        """Store new vectors; skip images that have been changed or removed since."""
        return self._writer.submit(lambda: self._updates.renew(renewed))

    def rebind(self, bundle: Bundle) -> "LocalGallery":
        """Return a gallery of the same folder with another bundle; each sees all changes."""
        return LocalGallery(bundle, self._writer)

    def close(self) -> None:
        """Release all resources. Galleries from `rebind` stay open."""
        self._compactor.stop()
        self._use.close()

    def rebuild(self) -> None:
        """Build the snapshot from all that is stored."""
        store = self._writer.store
        with store.read_transaction():
            overrides = store.overrides()
            rows, without_pixels = store.rows(), store.without_pixels(self.network)
            vectors = {
                layer: dict(store.vectors(layer)) for layer in self._bundle_images.segment.indexes
            }
        hidden = {row.item.id for row in rows}
        items = []
        for item in self._bundle_images.segment.items:
            override = overrides.get(item.id)
            edited = override.apply(item) if override else item
            items.append(edited or item)
            if edited is None:
                hidden.add(item.id)
        base = dataclasses.replace(self._bundle_images.segment, items=tuple(items))
        upserted = [
            Upserted(
                row.number,
                row.item,
                row.network,
                {
                    layer: by_number[row.number]
                    for layer, by_number in vectors.items()
                    if row.number in by_number
                },
                has_pixels=row.number not in without_pixels,
            )
            for row in rows
        ]
        before = Snapshot(
            (base,), self._bundle_images.classes, self._png, self._bundle_images.thumbnail
        ).without(hidden)
        self._outdated.clear()
        self._reembeddable.clear()
        self._publish(before, upserted, [])

    def apply(self, events: Events) -> None:
        """Show changes in the next snapshot."""
        before = self._snapshot
        upserted = [event for event in events.values() if isinstance(event, Upserted)]
        updated = [event.item for event in events.values() if isinstance(event, Updated)]
        deleted = [image_id for image_id, event in events.items() if isinstance(event, Deleted)]
        self._outdated.difference_update(deleted)
        self._reembeddable.difference_update(deleted)
        updated_segments = []
        for item in updated:
            with suppress(NotFoundError):  # it belongs to another bundle
                updated_segments.append(before.updated_segment(item))
        self._publish(before.without(events), upserted, updated_segments)

    def _publish(
        self, before: Snapshot, upserted: Sequence[Upserted], updated: Sequence[Segment]
    ) -> None:
        """Replace the snapshot by `before` with these images and segments added."""
        for one in upserted:
            outdated = one.network != self.network
            (self._outdated.add if outdated else self._outdated.discard)(one.item.id)
            reembeddable = outdated and one.has_pixels
            (self._reembeddable.add if reembeddable else self._reembeddable.discard)(one.item.id)
        base, *segments = before.segments
        new = self._segments(upserted, before.projections)
        segments = merge_small([*segments, *updated, *new], before.projections)
        self._snapshot = dataclasses.replace(
            before, segments=(base, *segments), outdated_ids=frozenset(self._outdated)
        )
        self._compactor.schedule(self._snapshot)

    def _segments(
        self, upserted: Sequence[Upserted], projections: Mapping[Layer, Projection]
    ) -> list[Segment]:
        """Build up to two segments: of images that can be searched, and of those that cannot."""
        fitting = [one for one in upserted if self._fits(one)]
        others = [one for one in upserted if not self._fits(one)]
        indexes = {
            layer: from_fp16(
                np.stack([one.vectors[layer] for one in fitting]), projections.get(layer)
            )
            for layer in (self._bundle_images.segment.indexes if fitting else ())
        }
        return [
            Segment(tuple(p.item for p in some), np.array([p.number for p in some]), found)
            for some, found in ((fitting, indexes), (others, {}))
            if some
        ]

    def _fits(self, upserted: Upserted) -> bool:
        """Return whether the vectors have the layers and dimensions of the bundle."""
        return all(
            layer in upserted.vectors and len(upserted.vectors[layer]) == index.dimension
            for layer, index in self._bundle_images.segment.indexes.items()
        )

    def _exchange(self, exchange: Callable[[Snapshot], Snapshot]) -> None:
        """Replace the snapshot by the result of compaction."""
        with self._writer.lock:
            self._snapshot = exchange(self._snapshot)


def _png(store: Store, bundle_images: BundleImages, segment: Segment, row: int) -> bytes:
    """Return the PNG of a row. Not a method: a snapshot must not refer to its gallery."""
    image_id, number = segment.items[row].id, int(segment.numbers[row])
    if number == OF_BUNDLE:
        return bundle_images.image(image_id)
    png = store.png(number)
    if png is None:
        raise NoPixelsError(f"The gallery has no pixels of {image_id!r}.")
    return png

"""The gallery at home: a bundle's images in memory, and what is added to them in SQLite.

What is searched is a snapshot that never changes: a change is kept, then another snapshot takes
its place, so that nobody who searches waits. Knows bundles and vectors; nothing of requests.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from service.errors import KindredError, NoPixelsError, NotFoundError
from service.gallery.bundle_images import BundleImages
from service.gallery.local.compaction import Compactor, merge_small
from service.gallery.local.snapshot import Snapshot
from service.gallery.local.store import Store
from service.gallery.local.updates import Updates
from service.gallery.local.writer import Deleted, Events, GroupCommitWriter, Updated, Upserted
from service.gallery.protocol import Gallery
from service.gallery.segment import OF_BUNDLE, Segment
from service.gallery.types import (
    Added,
    Addition,
    Item,
    NewVectors,
    OutdatedImage,
)
from training.bundle import Bundle, Layer, Projection, from_fp16

logger = logging.getLogger(__name__)


class LocalGallery(Gallery):
    """The gallery of a bundle and what a folder keeps besides, as one."""

    def __init__(self, bundle: Bundle, writer: GroupCommitWriter) -> None:
        self._network = bundle.network_id
        self._writer = writer
        self._bundle_images = BundleImages(bundle)
        self._updates = Updates(writer.store, self._bundle_images)
        self._compactor = Compactor(self._exchange)
        self._outdated: set[str] = set()
        self._reembeddable: set[str] = set()  # of the foreign: those that have pixels
        self._snapshot = Snapshot(
            (self._bundle_images.segment,), self._bundle_images.classes, self._picture
        )
        with ExitStack() as stack:
            stack.enter_context(writer.shared.acquire())
            writer.attach(self)
            stack.callback(writer.detach, self)
            self._use = stack.pop_all()

    @classmethod
    def open(cls, bundle: Bundle, folder: Path) -> "LocalGallery":
        """Open what a folder keeps, for this process to change; it may have nothing yet.

        Where another process has it, it is read as it stands, and cannot be changed until that
        other process has ended.

        Raises:
            StorageError: what is there cannot be read.

        """
        store = Store(folder)
        if store.kept:
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
    def network(self) -> str:
        """Whose vectors these are."""
        return self._network

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def added(self) -> int:
        """How many images have been added to those of the bundle."""
        return self._snapshot.added

    @property
    def outdated_count(self) -> int:
        """How many of them have vectors that another network made, and pixels to renew them by."""
        return len(self._reembeddable)

    def snapshot(self) -> Snapshot:
        """The gallery as it is now, and stays."""
        return self._snapshot

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> list[Added | KindredError]:
        """Keep images, all of those that can be in one go; each has its own outcome, in order."""
        return self._writer.make(
            lambda events: self._updates.add(additions, events, replace=replace)
        )

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Item:
        """Replace an image's label, `label_predicted` or attributes."""
        return self._writer.make(lambda events: self._updates.edit(image_id, change, events))

    def remove(self, image_id: str) -> None:
        """Take an image away, be it added or the bundle's."""
        self._writer.make(lambda events: self._updates.remove(image_id, events))

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Some of the stale images, to be embedded anew; none when all are done."""
        with self._writer.turn:
            return self._writer.store.outdated(self._network, limit)

    def renew(self, renewed: Sequence[NewVectors]) -> None:
        """Give images their new vectors; those that have changed or gone meanwhile are left."""
        self._writer.make(lambda events: self._updates.renew(renewed, events))

    def rebind(self, bundle: Bundle) -> "LocalGallery":
        """The same images with another bundle's: what is kept is shared, each sees all changes."""
        return LocalGallery(bundle, self._writer)

    def close(self) -> None:
        """Give up what is open. What others opened with `under` stays open."""
        self._compactor.stop()
        self._use.close()

    def rebuild(self) -> None:
        """Make what is searched of all that is kept."""
        store = self._writer.store
        with store.read_transaction():
            edits, removed = store.edits(), store.removed()
            rows, without_pixels = store.rows(), store.without_pixels(self._network)
            vectors = {
                layer: dict(store.vectors(layer)) for layer in self._bundle_images.segment.indexes
            }
        items = (
            edits[one.id].of(one) if one.id in edits else one
            for one in self._bundle_images.segment.items
        )
        base = dataclasses.replace(self._bundle_images.segment, items=tuple(items))
        puts = [
            Upserted(
                row.number,
                row.item,
                row.network,
                {layer: of[row.number] for layer, of in vectors.items() if row.number in of},
                has_pixels=row.number not in without_pixels,
            )
            for row in rows
        ]
        hidden = {*removed, *(row.item.id for row in rows)}
        before = Snapshot((base,), self._bundle_images.classes, self._picture).without(hidden)
        self._outdated.clear()
        self._reembeddable.clear()
        self._show(before, puts, [])

    def apply(self, events: Events) -> None:
        """Have changes seen by whatever is asked next."""
        before = self._snapshot
        puts = [event for event in events.values() if isinstance(event, Upserted)]
        edited = [event.item for event in events.values() if isinstance(event, Updated)]
        gone = [one for one, event in events.items() if isinstance(event, Deleted)]
        self._outdated.difference_update(gone)
        self._reembeddable.difference_update(gone)
        again = []
        for item in edited:
            with suppress(NotFoundError):  # it is another bundle's
                again.append(before.updated_segment(item))
        self._show(before.without(events), puts, again)

    def _show(self, before: Snapshot, puts: Sequence[Upserted], others: Sequence[Segment]) -> None:
        """Another snapshot, with these images besides."""
        for put in puts:
            outdated = put.network != self._network
            (self._outdated.add if outdated else self._outdated.discard)(put.item.id)
            stale = outdated and put.has_pixels
            (self._reembeddable.add if stale else self._reembeddable.discard)(put.item.id)
        base, *segments = before.segments
        new = self._segments(puts, before.projections)
        segments = merge_small([*segments, *others, *new], before.projections)
        self._snapshot = dataclasses.replace(
            before, segments=(base, *segments), outdated_ids=frozenset(self._outdated)
        )
        self._compactor.schedule(self._snapshot)

    def _segments(
        self, puts: Sequence[Upserted], projections: Mapping[Layer, Projection]
    ) -> list[Segment]:
        """Images as segments: those that can be searched, and those that cannot yet."""
        fitting = [put for put in puts if self._fits(put)]
        others = [put for put in puts if not self._fits(put)]
        indexes = self._bundle_images.segment.indexes
        searched = (
            {
                layer: from_fp16(
                    np.stack([put.vectors[layer] for put in fitting]), projections.get(layer)
                )
                for layer in indexes
            }
            if fitting
            else {}
        )
        return [
            Segment(tuple(p.item for p in some), np.array([p.number for p in some]), found)
            for some, found in ((fitting, searched), (others, {}))
            if some
        ]

    def _fits(self, put: Upserted) -> bool:
        """Whether an image's vectors can be searched beside the bundle's."""
        return all(
            layer in put.vectors and len(put.vectors[layer]) == index.dimension
            for layer, index in self._bundle_images.segment.indexes.items()
        )

    def _picture(self, segment: Segment, row: int) -> bytes:
        image_id, number = segment.items[row].id, int(segment.numbers[row])
        if number == OF_BUNDLE:
            return self._bundle_images.image(image_id)
        png = self._writer.store.picture(number)
        if png is None:
            raise NoPixelsError(f"The gallery has no pixels of {image_id!r}.")
        return png

    def _exchange(self, exchange: Callable[[Snapshot], Snapshot]) -> None:
        """Put what compaction has made into its place."""
        with self._writer.turn:
            self._snapshot = exchange(self._snapshot)

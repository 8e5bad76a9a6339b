"""The one who changes what is kept: SQLite first, then what is searched, then who asked is told.

Changes that come at once are kept together, since it is the waiting for the disk that takes time.
Knows the store and that galleries want to hear; nothing of indexes.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from service.errors import KindredError, StorageError
from service.gallery.local.store import Store
from service.gallery.types import Item
from service.resources import RefCounted
from training.bundle import Fp16Vectors, Layer

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upserted:
    """An image has been added, or has other vectors."""

    number: int
    item: Item
    network: str
    vectors: Mapping[Layer, Fp16Vectors]
    has_pixels: bool = True
    """Whether another network can embed it anew."""


@dataclass(frozen=True)
class Updated:
    """An image has another label or other attributes."""

    item: Item


@dataclass(frozen=True)
class Deleted:
    """An image has been removed."""


Event = Upserted | Updated | Deleted
Events = dict[str, Event]
"""What has become of images, by id: the last of it."""


def _joined(before: Event | None, after: Event) -> Event:
    if isinstance(before, Upserted) and isinstance(after, Updated):
        return replace(before, item=after.item)
    return after


class Listener(Protocol):
    """A gallery that is made of what is kept."""

    def rebuild(self) -> None:
        """Make it anew of all that is kept."""

    def apply(self, events: Events) -> None:
        """Have the change seen by whatever is asked next."""


class _WriteOp(Generic[T]):
    """Something to be done in a transaction, and what came of it."""

    def __init__(self, work: Callable[[Events], T]) -> None:
        self._work = work
        self._outcome: T | None = None
        self._error: Exception | None = None
        self.done = False

    def make(self, store: Store, events: Events) -> None:
        """Do it, or nothing of it."""
        made: Events = {}
        self._error = None
        try:
            with store.savepoint():
                self._outcome = self._work(made)
        except StorageError:
            raise  # fails all who are kept together
        except Exception as error:  # it is told to who asked; the others' work goes on
            self._error = error
        else:
            for image_id, event in made.items():
                events[image_id] = _joined(events.get(image_id), event)

    def fail(self, error: KindredError) -> None:
        """It cannot be kept."""
        self._error = error

    def outcome(self) -> T:
        """What came of it."""
        if self._error is not None:
            raise self._error
        return self._outcome  # type: ignore[return-value]  # of that type once it is done


class GroupCommitWriter:
    """A store and the galleries made of it. Its methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.turn = threading.RLock()
        """Held by whoever reads or changes the store, or what has been made of it."""
        self.shared = RefCounted(store, store.close)
        """Used by each gallery until it is closed; the last closes the store."""
        self._listeners: list[Listener] = []
        self._waiting: deque[_WriteOp[object]] = deque()

    def attach(self, listener: Listener) -> None:
        """Make a gallery, and have it hear of all changes from then on."""
        with self.turn:
            listener.rebuild()
            self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Have it hear no more."""
        with self.turn:
            self._listeners.remove(listener)

    def make(self, work: Callable[[Events], T]) -> T:
        """Do some work in a transaction; it says in its argument what has become of images.

        Whoever comes first does the work of all that wait.

        Raises:
            KindredError: what the work raised; nothing of it has been done.
            StorageError: it cannot be kept.

        """
        change = _WriteOp(work)
        self._waiting.append(change)  # type: ignore[arg-type]  # its outcome is its own
        with self.turn:
            if not change.done:
                waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    self._make_all(waiting)
                finally:
                    for one in waiting:
                        one.done = True
        return change.outcome()

    def _make_all(self, changes: Sequence[_WriteOp[object]]) -> None:
        events: Events = {}
        try:
            self._lock()
            with self.store.transaction():
                for change in changes:
                    change.make(self.store, events)
        except KindredError as error:
            if len(changes) == 1:
                changes[0].fail(error)
            else:  # what is small may still find room
                for change in changes:
                    self._make_all([change])
            return
        for listener in self._listeners:
            try:
                listener.apply(events)
            except Exception:  # it is kept: whoever changed it, and the others, must hear so
                logger.exception("A gallery is made anew of all that is kept")
                listener.rebuild()

    def _lock(self) -> None:
        if not self.store.locked:
            self.store.lock()
            for listener in self._listeners:  # another process may have changed it before
                listener.rebuild()

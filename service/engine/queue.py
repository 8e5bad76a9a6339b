"""The images that wait for the network, by priority, and which of them form the next batch.

Knows entries and admission; nothing of threads: the engine guards the queue with a lock.
"""

import time
from typing import Final, NamedTuple

from service.engine.admission import AdmissionController
from service.engine.types import Entry, Priority, deliver
from service.errors import DeadlinePassedError, QueueFullError
from training.bundle import Pixels

BACKGROUND_BATCH_SIZE: Final = 8
"""Maximum background images in a batch, so that an interactive request waits for few."""
BACKGROUND_BATCH_SIZE_IDLE: Final = 1
"""The same in an idle moment while interactive requests are expected."""
BACKGROUND_BATCH_SIZE_BUSY: Final = 4
"""The same if there was no idle moment in time."""
STARVATION_LIMIT: Final = 4
"""Interactive batches in a row while background images wait."""
SMOOTHING: Final = 0.1
"""Weight of the latest batch in the average time of a background image."""


class BatchItem(NamedTuple):
    """One image of a batch: the entry that it belongs to, and its number there."""

    entry: Entry
    number: int

    @property
    def pixels(self) -> Pixels:
        """The image, uint8 [side, side, 3]."""
        return self.entry.images[self.number]


class RequestQueue:
    """First in, first out within a priority. Not thread-safe."""

    def __init__(self, admission: AdmissionController) -> None:
        """Start empty; `admission` reports whether interactive requests are active."""
        self._admission = admission
        self._entries: tuple[dict[Entry, None], ...] = tuple({} for _ in Priority)
        self._waiting = [0 for _ in Priority]
        self._skipped = 0
        self._background_since = 0.0
        self._background_seconds = 0.0

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return sum(self._waiting)

    def count(self, priority: Priority) -> int:
        """Return the number of images of a priority that wait."""
        return self._waiting[priority]

    def add(self, entry: Entry) -> None:
        """Append the images of one request.

        Raises:
            QueueFullError: background images that could not run before their deadline.

        """
        if entry.priority is Priority.BACKGROUND:
            if self.count(Priority.BACKGROUND) == 0:
                self._background_since = time.monotonic()
            else:
                self._check_deadline(entry)
        self._entries[entry.priority][entry] = None
        self._waiting[entry.priority] += entry.waiting

    def _check_deadline(self, entry: Entry) -> None:
        waiting = self.count(Priority.BACKGROUND)
        seconds = (waiting + entry.waiting) * self._background_seconds
        if time.monotonic() + seconds > entry.deadline:
            raise QueueFullError(
                f"{waiting} images wait to be added, so these would pass their deadline. Try again "
                "later, or send fewer images."
            )

    def remove(self, entry: Entry) -> None:
        """Remove the images of an entry that still wait, if any."""
        if entry in self._entries[entry.priority]:
            del self._entries[entry.priority][entry]
            self._waiting[entry.priority] -= entry.waiting

    def clear(self) -> tuple[Entry, ...]:
        """Remove all entries and return them."""
        removed = tuple(entry for entries in self._entries for entry in entries)
        for priority in Priority:
            self._entries[priority].clear()
            self._waiting[priority] = 0
        return removed

    def next_batch(self, limit: int) -> tuple[BatchItem, ...]:
        """Remove and return up to `limit` live images of one priority; fail the expired ones.

        Interactive images go first. Background images follow in small batches, and go first after
        `STARVATION_LIMIT` interactive batches. Empty if nothing may run now.
        """
        background = self.count(Priority.BACKGROUND)
        background_limit = min(limit, self._background_batch_size()) if background else 0
        order = [(Priority.INTERACTIVE, limit), (Priority.BACKGROUND, background_limit)]
        if self._skipped >= STARVATION_LIMIT:
            order.reverse()
        for priority, size in order:
            if batch := self._take(priority, size):
                interactive = priority is Priority.INTERACTIVE
                self._skipped = self._skipped + 1 if interactive and background else 0
                return batch
        return ()

    def _take(self, priority: Priority, limit: int) -> tuple[BatchItem, ...]:
        entries = self._entries[priority]
        batch: list[BatchItem] = []
        while entries and len(batch) < limit:
            entry = next(iter(entries))
            if entry.expired:
                entry.fail(DeadlinePassedError("The deadline passed in the queue."))
                deliver([entry])
            if not entry.is_live:
                self.remove(entry)
                continue
            numbers = entry.take(limit - len(batch))
            self._waiting[priority] -= len(numbers)
            batch += [BatchItem(entry, number) for number in numbers]
            if not entry.waiting:
                del entries[entry]
        return tuple(batch)

    def record_background(self, count: int) -> None:
        """Update the average time of a background image after a batch of `count` images."""
        now = time.monotonic()
        seconds = (now - self._background_since) / count
        self._background_seconds += SMOOTHING * (seconds - self._background_seconds)
        self._background_since = now

    @property
    def background_delay(self) -> float | None:
        """Seconds until background images may run without an idle moment; None if none wait."""
        if not self._waiting[Priority.BACKGROUND]:
            return None
        return max(0.0, self._background_since + self._admission.idle_timeout - time.monotonic())

    def _background_batch_size(self) -> int:
        if not self._admission.recently_active:
            return BACKGROUND_BATCH_SIZE
        if self._admission.idle:
            return BACKGROUND_BATCH_SIZE_IDLE
        return 0 if self.background_delay else BACKGROUND_BATCH_SIZE_BUSY

"""The images that wait for the network, by priority, and which of them form the next batch.

Knows entries and admission; nothing of threads: the engine guards the queue with a lock.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from service.engine.admission import AdmissionController
from service.engine.types import Entry, Priority
from service.errors import DeadlinePassedError, QueueFullError

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


class RequestQueue:
    """First in, first out within a priority. Not thread-safe."""

    def __init__(self, admission: AdmissionController) -> None:
        """Start empty; `admission` reports whether interactive requests are active."""
        self._admission = admission
        self._entries: tuple[OrderedDict[Entry, None], ...] = tuple(OrderedDict() for _ in Priority)
        self._skipped = 0
        self._background_since = 0.0
        self._background_seconds = 0.0

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return sum(map(len, self._entries))

    def count(self, priority: Priority) -> int:
        """Return the number of images of a priority that wait."""
        return len(self._entries[priority])

    def add(self, entries: Sequence[Entry]) -> None:
        """Append the images of one request.

        Raises:
            QueueFullError: background images that could not run before their deadline.

        """
        if entries and entries[0].priority is Priority.BACKGROUND:
            if self.count(Priority.BACKGROUND) == 0:
                self._background_since = time.monotonic()
            else:
                self._check_deadline(entries)
        for entry in entries:
            self._entries[entry.priority][entry] = None

    def _check_deadline(self, entries: Sequence[Entry]) -> None:
        waiting = self.count(Priority.BACKGROUND)
        seconds = (waiting + len(entries)) * self._background_seconds
        if time.monotonic() + seconds > entries[0].deadline:
            raise QueueFullError(
                f"{waiting} images wait to be added, so these would pass their deadline. Try again "
                "later, or send fewer images."
            )

    def remove(self, entry: Entry) -> None:
        """Remove an entry that has been cancelled, if it still waits."""
        self._entries[entry.priority].pop(entry, None)

    def clear(self) -> tuple[Entry, ...]:
        """Remove all entries and return them."""
        removed = tuple(entry for entries in self._entries for entry in entries)
        for entries in self._entries:
            entries.clear()
        return removed

    def next_batch(self, limit: int) -> tuple[Entry, ...]:
        """Remove and return up to `limit` live entries of one priority; fail the expired ones.

        Interactive entries go first. Background entries follow in small batches, and go first after
        `STARVATION_LIMIT` interactive batches. Empty if nothing may run now.
        """
        interactive, background = self._entries
        background_limit = min(limit, self._background_batch_size()) if background else 0
        order = [(interactive, limit), (background, background_limit)]
        if self._skipped >= STARVATION_LIMIT:
            order.reverse()
        for entries, size in order:
            if batch := _take(entries, size):
                self._skipped = self._skipped + 1 if entries is interactive and background else 0
                return batch
        return ()

    def record_background(self, count: int) -> None:
        """Update the average time of a background image after a batch of `count` images."""
        now = time.monotonic()
        seconds = (now - self._background_since) / count
        self._background_seconds += SMOOTHING * (seconds - self._background_seconds)
        self._background_since = now

    @property
    def background_delay(self) -> float | None:
        """Seconds until background images may run without an idle moment; None if none wait."""
        if not self._entries[Priority.BACKGROUND]:
            return None
        return max(0.0, self._background_since + self._admission.idle_timeout - time.monotonic())

    def _background_batch_size(self) -> int:
        if not self._admission.recently_active:
            return BACKGROUND_BATCH_SIZE
        if self._admission.idle:
            return BACKGROUND_BATCH_SIZE_IDLE
        return 0 if self.background_delay else BACKGROUND_BATCH_SIZE_BUSY


def _take(entries: OrderedDict[Entry, None], limit: int) -> tuple[Entry, ...]:
    batch: list[Entry] = []
    while entries and len(batch) < limit:
        entry, _ = entries.popitem(last=False)
        if entry.expired:
            entry.set_exception(DeadlinePassedError("The deadline passed in the queue."))
        elif entry.future.set_running_or_notify_cancel():
            batch.append(entry)
    return tuple(batch)

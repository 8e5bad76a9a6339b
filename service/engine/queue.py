"""Images that wait for the network: in front those that somebody waits for, behind all other work.

Knows who comes next; nothing of threads, so that whoever shares a line between them guards it.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from service.engine.types import Entry

BACKGROUND_STEP: Final = 8
"""Images from behind that are run at once: whoever comes in front meanwhile waits for no more."""
STARVATION_LIMIT: Final = 4
"""Batches from the front for one from behind, where both wait: nobody is to wait for ever."""


class RequestQueue:
    """Two queues, and whose turn it is."""

    def __init__(self) -> None:
        self._queues: dict[bool, deque[Entry]] = {False: deque(), True: deque()}
        self._passed = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def count(self, *, behind: bool) -> int:
        """How many wait behind, or in front."""
        return len(self._queues[behind])

    def add(self, entries: Iterable[Entry], *, behind: bool) -> None:
        """Have them wait after those that do."""
        self._queues[behind].extend(entries)

    def next_batch(self, limit: int) -> tuple[deque[Entry], int]:
        """Those of whom the next are to be taken, and how many at once: `limit`, or fewer."""
        front, behind = self._queues[False], self._queues[True]
        if behind and (not front or self._passed == STARVATION_LIMIT):
            self._passed = 0
            return behind, min(BACKGROUND_STEP, limit)
        self._passed += bool(behind)
        return front, limit

    def drop_cancelled(self) -> None:
        """Let those go whom nobody waits for any more."""
        for behind, queue in self._queues.items():
            self._queues[behind] = deque(entry for entry in queue if entry.is_live)

    def clear(self) -> tuple[Entry, ...]:
        """Let all go, and say who they were."""
        gone = tuple(entry for queue in self._queues.values() for entry in queue)
        for queue in self._queues.values():
            queue.clear()
        return gone

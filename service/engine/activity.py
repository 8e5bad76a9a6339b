"""Work that nobody waits for is done in the pauses of those who are waited for.

Two cores that search have no time to spare: any other work beside them, be it at the lowest
priority, makes the slowest searches half as slow again, or worse. Knows who is there; nothing of
what they do.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

MAX_WAIT_SECONDS: Final = 0.02
"""Seconds after which there is no pause to be had: such work is not to wait for ever."""
RECENT_SECONDS: Final = 1.0
"""Seconds for which whoever has been there may come again at any moment."""


class ActivityTracker:
    """Tells whether guests are there, and when none is. For the event loop alone."""

    def __init__(self) -> None:
        self._guests = 0
        self._last_left = -RECENT_SECONDS
        self._nobody = asyncio.Event()
        self._nobody.set()

    @contextmanager
    def track(self) -> Iterator[None]:
        """Be waited for inside."""
        self._guests += 1
        self._nobody.clear()
        try:
            yield
        finally:
            self._guests -= 1
            self._last_left = time.monotonic()
            if self._guests == 0:
                self._nobody.set()

    @property
    def recently_active(self) -> bool:
        """Whether guests are there, or may come again at any moment."""
        return self._guests > 0 or time.monotonic() - self._last_left < RECENT_SECONDS

    async def wait(self) -> bool:
        """Wait until no guest is there, and not for ever; whether it was worth it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                while self._guests:  # another may have come before this goes on
                    await self._nobody.wait()
        return self._guests == 0

"""Work that nobody waits for is done in the pauses of those who are waited for.

Two cores that search have no time to spare: any other work beside them, be it at the lowest
priority, doubles the time that the slowest searches take. Knows who is there; nothing of what they
do.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

PATIENCE: Final = 0.02
"""Seconds after which there is no pause to be had: such work is not to wait for ever."""
LATELY: Final = 1.0
"""Seconds for which whoever has been there may come again at any moment."""


class Guest:
    """Somebody who is waited for, until they leave."""

    def __init__(self, pauses: "Pauses") -> None:
        self._pauses: Pauses | None = pauses

    def leave(self) -> None:
        """Be waited for no more, if one still was."""
        pauses, self._pauses = self._pauses, None
        if pauses is not None:
            pauses.take_leave()


class Pauses:
    """Tells whether guests are there, and when none is. For the event loop alone."""

    def __init__(self) -> None:
        self._guests = 0
        self._last_left = -LATELY
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._turn = asyncio.Lock()

    def welcome(self) -> Guest:
        """Count one more guest, until it leaves."""
        self._guests += 1
        self._nobody.clear()
        return Guest(self)

    def take_leave(self) -> None:
        """Count one guest less."""
        self._guests -= 1
        if self._guests == 0:
            self._last_left = time.monotonic()
            self._nobody.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Do some work inside; where guests are or have been lately, in a pause and one at a time.

        Yields whether they have: then it had better be short, for they may come in the middle.
        """
        if not self._guests and time.monotonic() - self._last_left > LATELY:
            yield False
            return
        async with self._turn:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._nobody.wait()
            yield True

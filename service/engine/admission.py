"""Admission control: counts the images that are admitted and not yet answered.

Knows numbers and times; nothing of images, of the network or of HTTP.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self

from service.engine.types import Priority
from service.errors import QueueFullError

IDLE_TIMEOUT: Final = 0.02
RECENT_SECONDS: Final = 1.0


class Permit:
    """Admission of `count` images, as a context manager.

    The images count until the block has ended and every function that `retain` returned was called.
    """

    __slots__ = ("_admission", "_holders", "count", "priority")

    def __init__(self, admission: "AdmissionController", priority: Priority, count: int) -> None:
        self.priority = priority
        self.count = count
        self._admission = admission
        self._holders = 1

    def retain(self) -> Callable[[], None]:
        """Return a function that must be called before the permit is released.

        A thread cannot be stopped. If its request is cancelled, the images count until it ends.
        """
        self._holders += 1
        return self._release

    def _release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._admission.release(self.priority, self.count)

    def __enter__(self) -> Self:
        """Return the permit."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the permit, unless threads still hold it."""
        self._release()


class AdmissionController:
    """Admits images up to a capacity for each priority, and tracks interactive activity.

    Not thread-safe: use from the event loop. Other threads may read `idle` and
    `recently_active`.
    """

    def __init__(
        self,
        capacity: Mapping[Priority, int],
        check_healthy: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        recent_seconds: float = RECENT_SECONDS,
    ) -> None:
        """Start with no image in flight.

        Args:
            capacity: images that may be admitted and not yet answered, for each priority.
            check_healthy: raises `UnavailableError` if no image can be answered now.
            on_idle: called when the last interactive permit is released.
            idle_timeout: seconds that background work waits for an idle moment.
            recent_seconds: seconds after an interactive request for which another is expected.

        """
        self.idle_timeout = idle_timeout
        self.recent_seconds = recent_seconds
        self._capacity = [capacity[priority] for priority in Priority]
        self._in_flight = [0] * len(Priority)
        self._check_healthy = check_healthy
        self._on_idle = on_idle
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_active = -math.inf

    def in_flight(self, priority: Priority) -> int:
        """Return the number of images admitted and not yet answered."""
        return self._in_flight[priority]

    @property
    def idle(self) -> bool:
        """Whether no interactive permit is held."""
        return self._active == 0

    @property
    def recently_active(self) -> bool:
        """Whether an interactive permit is held, or was within `recent_seconds`."""
        return not self.idle or time.monotonic() - self._last_active < self.recent_seconds

    def check(self, priority: Priority, count: int = 1) -> None:
        """Refuse a request early, before its body is read.

        Raises:
            UnavailableError: the engine accepts no images now.
            QueueFullError: `count` more images exceed the capacity.

        """
        self._check_healthy()
        in_flight, capacity = self._in_flight[priority], self._capacity[priority]
        if in_flight + count > capacity:
            raise QueueFullError(
                f"{in_flight} images are in progress, and at most {capacity} may be. Try again "
                "after the time in Retry-After."
            )

    def permit(self, priority: Priority, count: int = 1) -> Permit:
        """Admit all of `count` images or none; 0 is always admitted.

        Raises:
            UnavailableError: the engine accepts no images now.
            QueueFullError: `count` more images exceed the capacity.

        """
        if count:
            self.check(priority, count)
            self._in_flight[priority] += count
        if priority is Priority.INTERACTIVE:
            self._active += 1
            self._idle.clear()
        return Permit(self, priority, count)

    def release(self, priority: Priority, count: int) -> None:
        """Release a permit; `Permit` calls this."""
        self._in_flight[priority] -= count
        if priority is Priority.INTERACTIVE:
            self._active -= 1
            self._last_active = time.monotonic()
            if self._active == 0:
                self._idle.set()
                self._on_idle()

    async def wait_idle(self) -> bool:
        """Wait until no interactive permit is held; return False after `idle_timeout`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.idle_timeout):
                while not self.idle:  # another permit may have been given since
                    await self._idle.wait()
        return self.idle

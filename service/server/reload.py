"""Loads another bundle into the running process, and returns freed memory to the system."""

import asyncio
import ctypes
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from service.errors import BundleRefusedError, UnavailableError
from service.schemas.base import ModelName, ReloadResponse
from service.state import State
from training.bundle import BundleError, DeviceError

GRACE_SECONDS = 1.0
"""Seconds beyond the deadline of a request after which nobody can be using the old bundle."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateSlot:
    """Where the state that is served stands."""

    get: Callable[[], State]
    put: Callable[[State], None]


class Reloader:
    """Reloads one at a time; who asks meanwhile waits for a turn."""

    def __init__(self, slot: StateSlot, make: Callable[[State], State]) -> None:
        """Prepare.

        Args:
            place: where the state stands.
            make: a new state, not yet started, from the old one's settings.

        """
        self._slot = slot
        self._make = make
        self._turn = asyncio.Lock()
        self._in_flight: set[asyncio.Task[Any]] = set()

    async def reload(self) -> ReloadResponse:
        """Load what stands at the bundle's place now, and serve it.

        Whoever asked may go, or be cut off at a deadline: the change goes on.

        Raises:
            BundleRefusedError: it does not verify, or does not run; the old one is served on.
            UnavailableError: the service is stopping.

        """
        change = asyncio.create_task(self._change())
        self._in_flight.add(change)
        change.add_done_callback(self._in_flight.discard)
        return await asyncio.shield(change)

    async def close(self) -> None:
        """Wait for what is under way, and until the old ones are gone."""
        while self._in_flight:
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _change(self) -> ReloadResponse:
        async with self._turn:
            old = self._slot.get()
            new = await self._open(old)
            if old.lifecycle.draining:
                await anyio.to_thread.run_sync(new.engine.stop)
                await anyio.to_thread.run_sync(new.gallery.close)
                raise UnavailableError("The service is stopping.")
            self._slot.put(new)
            new.metrics.reloads.inc()
            retiring = asyncio.create_task(_drain_and_close(old))
            self._in_flight.add(retiring)
            retiring.add_done_callback(self._in_flight.discard)
            said = ReloadResponse(previous=old.responses.model, current=new.responses.model)
            logger.warning("Serving %s instead of %s", _name(said.current), _name(said.previous))
            return said

    async def _open(self, old: State) -> State:
        """The new state, warm."""
        if old.lifecycle.draining:
            raise UnavailableError("The service is stopping.")
        try:
            new = await anyio.to_thread.run_sync(self._make, old)
            try:
                await anyio.to_thread.run_sync(new.engine.start)
            except BaseException:
                await anyio.to_thread.run_sync(new.gallery.close)
                raise
        except (BundleError, DeviceError, UnavailableError) as error:
            logger.warning("The new bundle is refused: %s", error)
            raise BundleRefusedError(
                f"{error}. The bundle that was served is served on."
            ) from error
        return new


async def _drain_and_close(old: State) -> None:
    """Let it answer who began with it."""
    old.requests.release()
    with suppress(TimeoutError):
        async with asyncio.timeout(old.settings.request_timeout + GRACE_SECONDS):
            await old.requests.wait_closed()
    await anyio.to_thread.run_sync(old.engine.stop)
    await anyio.to_thread.run_sync(old.gallery.close)
    await anyio.to_thread.run_sync(trim_heap)


def _name(model: ModelName) -> str:
    return f"{model.name} {model.version}"


def trim_heap() -> None:
    """Give the system what is free in the heap.

    To load a bundle and compile its network leaves tens of MB there, which nothing takes up again.
    Only glibc has to be told.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)

"""Loads another bundle into the running process.

Knows the state and its engine and gallery, but nothing of HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from service.errors import BundleRefusedError, KindredError, UnavailableError
from service.schemas.base import Move, ReloadResponse
from service.server.memory import trim_heap
from service.state import State
from training.bundle import BundleError, DeviceError

T = TypeVar("T")

GRACE_SECONDS = 1.0
"""Seconds after the request timeout at which no request can use the old bundle any more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateSlot:
    """Reads and replaces the state that is served."""

    get: Callable[[], State]
    put: Callable[[State], None]


class Reloader:
    """Reloads the bundle. Concurrent reloads run one after another."""

    def __init__(self, slot: StateSlot, make: Callable[[State], State]) -> None:
        """Prepare reloads; does not load anything yet.

        Args:
            slot: the state that is served.
            make: returns a new state, started, from the old one.

        """
        self._slot = slot
        self._make = make
        self._lock = asyncio.Lock()
        self._in_flight: set[asyncio.Task[Any]] = set()

    async def reload(self) -> ReloadResponse:
        """Load the bundle from its folder, and serve it.

        The reload continues if the caller is cancelled.

        Raises:
            BundleRefusedError: the bundle does not verify or run; the old one is still served.
            UnavailableError: the service is stopping.

        """
        return await asyncio.shield(self._start(self._change()))

    def reload_in_background(self) -> None:
        """Start a reload. If it fails, that is logged, and the old bundle is still served."""

        async def change() -> None:
            with suppress(KindredError):
                await self._change()

        self._start(change())

    async def close(self) -> None:
        """Wait until reloads in progress have ended and the old states are closed."""
        while self._in_flight:
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    async def _change(self) -> ReloadResponse:
        async with self._lock:
            old = self._slot.get()
            new = await self._open(old)
            if old.lifecycle.draining:
                await anyio.to_thread.run_sync(new.close)
                raise UnavailableError("The service is stopping.")
            self._slot.put(new)
            new.metrics.reloads.inc()
            self._start(_drain_and_close(old))
            response = ReloadResponse(
                previous=old.responses.model,
                current=new.responses.model,
                moved=_move(old.source, new.source),
            )
            logger.warning("Reloaded: serving %s instead of %s", _describe(new), _describe(old))
            return response

    async def _open(self, old: State) -> State:
        """Build and start the new state."""
        if old.lifecycle.draining:
            raise UnavailableError("The service is stopping.")
        outcome = await anyio.to_thread.run_sync(_attempt, self._make, old)
        if isinstance(outcome, str):
            logger.warning("Reload refused: %s", outcome)
            await anyio.to_thread.run_sync(trim_heap)
            raise BundleRefusedError(f"{outcome}. The previous bundle is still served.")
        return outcome


def _attempt(make: Callable[[State], State], old: State) -> State | str:
    """Return a new state, or why there is none.

    The error itself ends here: its frames refer to all that has been loaded.
    """
    try:
        return make(old)
    except (BundleError, DeviceError, KindredError) as error:
        return str(error)
    except Exception as error:  # a fault of this code must not end the service of the old bundle
        logger.exception("The reload failed")
        return f"The bundle cannot be loaded: {error!r}"


async def _drain_and_close(old: State) -> None:
    """Wait for the requests that use an old state, then free its resources."""
    old.requests.release()
    with suppress(TimeoutError):
        async with asyncio.timeout(old.settings.request_timeout + GRACE_SECONDS):
            await old.requests.wait_closed()
    await anyio.to_thread.run_sync(old.close)
    await anyio.to_thread.run_sync(trim_heap)


def _move(previous: Path, current: Path) -> Move | None:
    if previous == current:
        return None
    return Move(previous=str(previous), current=str(current))


def _describe(state: State) -> str:
    model = state.responses.model
    return f"{model.name} {model.version} from {state.source}"

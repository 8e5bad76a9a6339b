"""Work off the event loop, in so many threads at once as there are cores for it.

A thread cannot be stopped: where its caller is cancelled it keeps its place until it ends, or an
overload would set any number of threads to work that nobody waits for. Knows nothing of requests.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

T = TypeVar("T")

_BEHIND: Final = 10
"""Steps of `nice`: about a tenth of the time, where both want all of it."""


def a_thread_per_core() -> CapacityLimiter:
    """More at once would only take turns, and keep the event loop from its own."""
    return CapacityLimiter(os.cpu_count() or 1)


def some_writers() -> CapacityLimiter:
    """Those who wait for a disk take no core; what comes at once is kept at once."""
    return CapacityLimiter(16)


def step_back() -> None:
    """Have this thread, and those that it starts from now on, give way to the event loop.

    An event loop takes little, but at once: where the network's threads have as good a right to
    every core, all requests wait for their turn. Only Linux has a priority for each thread.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEHIND)


async def run(
    work: Callable[[], T], limiter: CapacityLimiter, on_end: Callable[[], None] = lambda: None
) -> T:
    """Do `work` in a thread as soon as the limiter has a place, and give its result.

    Whoever is cancelled while there is no place yet has nothing done. `on_end` is called on the
    event loop when the work has ended, or is not to begin any more.
    """
    place = object()
    try:
        await limiter.acquire_on_behalf_of(place)
    except BaseException:
        on_end()
        raise

    def leave(ended: "asyncio.Future[T]") -> None:
        limiter.release_on_behalf_of(place)
        on_end()
        if not ended.cancelled():
            ended.exception()  # whoever would have been told may have gone

    working = asyncio.ensure_future(anyio.to_thread.run_sync(work))
    working.add_done_callback(leave)
    return await asyncio.shield(working)

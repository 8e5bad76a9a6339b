"""Work off the event loop, in so many threads at once as there are cores for it.

A thread cannot be stopped: where its caller is cancelled it keeps its place until it ends, or an
overload would set any number of threads to work that nobody waits for. Knows nothing of requests.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Final, TypeVar

T = TypeVar("T")

NETWORK: Final = 10
"""Steps of `nice`: about a tenth of the time, where both want all of it."""
BEHIND: Final = 15
"""For what nobody who searches waits for: a third of what the network gets, when that runs."""


def a_thread_per_core(name: str, steps: int = 0) -> ThreadPoolExecutor:
    """More at once would only take turns, and keep the event loop from its own.

    They give way by so many steps, as `step_back` says.
    """
    return ThreadPoolExecutor(os.cpu_count() or 1, name, lambda: step_back(steps))


def some_writers() -> ThreadPoolExecutor:
    """Those who wait for a disk take no core; what comes at once is kept at once.

    They give way to all others, and so do the threads that they start.
    """
    return ThreadPoolExecutor(16, "writing", lambda: step_back(BEHIND))


def step_back(steps: int = NETWORK) -> None:
    """Have this thread, and those that it starts from now on, give way to the event loop.

    An event loop takes little, but at once: where the network's threads have as good a right to
    every core, all requests wait for their turn. Only Linux has a priority for each thread, and a
    thread that has given way does so for good.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        before = os.getpriority(os.PRIO_PROCESS, thread)  # none may come forward again
        os.setpriority(os.PRIO_PROCESS, thread, max(before, steps))


async def run(
    work: Callable[[], T], pool: ThreadPoolExecutor, on_end: Callable[[], None] = lambda: None
) -> T:
    """Do `work` as soon as a thread of the pool is free, and give its result.

    Whoever is cancelled while none is has nothing done. `on_end` is called on the event loop when
    the work has ended, or is not to begin any more.
    """
    loop = asyncio.get_running_loop()

    def leave(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop has been closed, and nobody counts any more
            loop.call_soon_threadsafe(on_end)

    working = pool.submit(copy_context().run, work)
    working.add_done_callback(leave)
    return await asyncio.wrap_future(working)

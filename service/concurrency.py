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

_BACKGROUND_NICENESS: Final = 10
"""Steps of `nice`: about a tenth of the time, where both want all of it."""


def cpu_pool(name: str) -> ThreadPoolExecutor:
    """More at once would only take turns, and keep the event loop from its own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, name)


def background_pool() -> ThreadPoolExecutor:
    """For the small steps of what nobody waits for."""
    return ThreadPoolExecutor(1, "background", lower_priority)


def lower_priority() -> None:
    """Have this thread, and those that it starts from now on, give way to the event loop.

    An event loop takes little, but at once: where the network's threads have as good a right to
    every core, all requests wait for their turn. Only Linux has a priority for each thread, and
    none may come forward again.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # where that is forbidden, it stays where it is
            before = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(before, _BACKGROUND_NICENESS))


async def run_in_pool(
    work: Callable[[], T], pool: ThreadPoolExecutor, on_end: Callable[[], None] = lambda: None
) -> T:
    """Do `work` as soon as a thread of the pool is free, and give its result.

    Whoever is cancelled while none is has nothing done. `on_end` is called on the event loop when
    the work has ended, or is not to begin any more.
    """
    held = [work]

    def do() -> T:
        return held.pop()()

    def leave(ended: "Future[T]") -> None:
        if ended.cancelled():
            held.clear()  # the pool keeps a place for it, and all that it holds

    try:
        working = pool.submit(copy_context().run, do)
    except RuntimeError:  # no thread can be started; one that there is would do it later
        held.clear()
        on_end()
        raise
    working.add_done_callback(leave)
    return await wait_for(working, on_end)


async def wait_for(future: "Future[T]", on_end: Callable[[], None] = lambda: None) -> T:
    """Return the result of work in another thread.

    If the caller is cancelled, work that has not begun is cancelled too. `on_end` is called on the
    event loop when the work has ended or has been cancelled.
    """
    loop = asyncio.get_running_loop()

    def notify(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(on_end)

    future.add_done_callback(notify)
    return await asyncio.wrap_future(future)

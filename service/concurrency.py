"""Thread pools for work off the event loop, and thread priorities.

A thread cannot be stopped: if its caller is cancelled, it occupies its pool until it ends. The
size of a pool thus bounds the threads of an overload. Knows nothing of requests.
"""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

_BACKGROUND_NICENESS: Final = 10
"""Nice value: about a tenth of the CPU time, if a thread at 0 wants all of it."""


def cpu_pool(name: str) -> ThreadPoolExecutor:
    """Return a pool with a thread for each core; more would only delay the event loop."""
    return ThreadPoolExecutor(os.cpu_count() or 1, name)


def background_pool() -> ThreadPoolExecutor:
    """Return a low-priority pool of one thread, for the small steps of background requests."""
    return ThreadPoolExecutor(1, "background", lower_priority)


def lower_priority() -> None:
    """Lower the priority of this thread and of the threads that it starts from now on.

    The event loop needs little CPU time, but needs it at once: with network threads of equal
    priority, all requests wait for their time slices. Only Linux has priorities for threads. They
    cannot be raised again.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # not permitted: keep the priority
            before = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(before, _BACKGROUND_NICENESS))


class Budget:
    """A number of units that tasks take and give back; those that wait are served in order.

    Not thread-safe: use from the event loop.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> Callable[[], None]:
        """Wait until units are free, and return the function that gives them back.

        More than the total counts as the total.
        """
        amount = min(amount, self._total)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._serve()  # those behind it may fit
            else:
                self._give_back(amount)
            raise
        return partial(self._give_back, amount)

    def _give_back(self, amount: int) -> None:
        self._free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.cancelled():
                if amount > self._free:
                    return
                self._free -= amount
                turn.set_result(None)
            self._waiting.popleft()


async def run_in_pool(
    work: Callable[[], T], pool: ThreadPoolExecutor, on_end: Callable[[], None] = lambda: None
) -> T:
    """Run `work` in a thread of the pool and return its result.

    If the caller is cancelled before a thread is free, the work never runs. `on_end` is called on
    the event loop when the work has ended or will never run.

    Raises:
        RuntimeError: no thread can be started; the work never runs.

    """
    held = [work]

    def run() -> T:
        return held.pop()()

    def release(future: "Future[T]") -> None:
        if future.cancelled():
            held.clear()  # the pool's queue still refers to `run`: free what the work refers to

    try:
        future = pool.submit(copy_context().run, run)
    except RuntimeError:  # no thread can be started, but a running one would take it later
        held.clear()
        on_end()
        raise
    future.add_done_callback(release)
    return await wait_for(future, on_end)


async def wait_for(future: "Future[T]", on_end: Callable[[], None] = lambda: None) -> T:
    """Return the result of work in another thread.

    If the caller is cancelled, work that has not begun is cancelled too. `on_end` is called on the
    event loop when the work has ended or has been cancelled.
    """
    loop = asyncio.get_running_loop()

    def notify(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(on_end)

    future.add_done_callback(notify)
    return await asyncio.wrap_future(future)

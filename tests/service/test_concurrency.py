"""Thread pools: results, cancellation and thread priorities."""

import asyncio
import gc
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import concurrency

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="threads have no priorities on this system"
)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_runs_in_a_thread_of_the_pool() -> None:
    with ThreadPoolExecutor(1, "some") as pool:
        name = asyncio.run(concurrency.run_in_pool(lambda: threading.current_thread().name, pool))
    assert name.startswith("some")


def test_errors_of_the_work_are_raised_to_the_caller() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        asyncio.run(concurrency.run_in_pool(lambda: 1 // 0, pool))


def test_work_that_is_cancelled_before_a_thread_is_free_never_runs() -> None:
    done: list[str] = []
    free = threading.Event()

    async def cancel_second(pool: ThreadPoolExecutor) -> None:
        first = asyncio.create_task(concurrency.run_in_pool(free.wait, pool))
        second = asyncio.create_task(concurrency.run_in_pool(lambda: done.append("second"), pool))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        free.set()
        await first

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(cancel_second(pool))
    assert done == []


def test_work_that_runs_ends_after_its_caller_is_cancelled() -> None:
    started, free = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        free.wait()

    async def go(pool: ThreadPoolExecutor) -> None:
        ended = asyncio.Event()
        caller = asyncio.create_task(concurrency.run_in_pool(work, pool, ended.set))
        await asyncio.to_thread(started.wait)
        caller.cancel()
        await asyncio.wait([caller])
        early = ended.is_set()
        free.set()
        await ended.wait()
        assert not early

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(go(pool))


@linux_only
def test_background_threads_and_those_that_they_start_run_at_low_priority() -> None:
    def start_another() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(niceness).result()

    pool = concurrency.background_pool()
    assert asyncio.run(concurrency.run_in_pool(niceness, pool)) >= 10
    assert asyncio.run(concurrency.run_in_pool(start_another, pool)) >= 10


@linux_only
def test_a_thread_of_an_even_lower_priority_keeps_it() -> None:
    def lower_priority() -> int:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(15, niceness()))
        concurrency.lower_priority()
        return niceness()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lower_priority).result() >= 15


def test_work_is_dropped_if_its_thread_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []
    done: list[bool] = []
    free = threading.Event()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ThreadPoolExecutor(2) as pool:
        busy = pool.submit(free.wait)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        try:
            with pytest.raises(RuntimeError, match="new thread"):
                asyncio.run(
                    concurrency.run_in_pool(
                        lambda: done.append(True), pool, lambda: ended.append(True)
                    )
                )
        finally:
            free.set()
            monkeypatch.undo()
        assert busy.result()
    assert (ended, done) == ([True], [])


def test_cancelled_work_is_freed_at_once() -> None:
    class Large:
        """A large object."""

    async def go(pool: ThreadPoolExecutor) -> None:
        free = threading.Event()
        first = asyncio.create_task(concurrency.run_in_pool(free.wait, pool))
        large = Large()
        held = weakref.ref(large)
        second = asyncio.create_task(concurrency.run_in_pool(lambda large=large: None, pool))  # type: ignore[misc]  # the default value holds it
        del large
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        del second
        gc.collect()
        still_there = held() is not None
        free.set()
        await first
        assert not still_there

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(go(pool))


def test_a_budget_is_shared_in_order_and_given_back() -> None:
    async def go() -> list[str]:
        budget = concurrency.Budget(10)
        events: list[str] = []

        async def take(name: str, amount: int) -> None:
            give_back = await budget.take(amount)
            events.append(f"{name} begins")
            await asyncio.sleep(0)
            events.append(f"{name} ends")
            give_back()

        # The small third one could begin at once, but then the second might never begin.
        await asyncio.gather(take("first", 6), take("second", 99), take("third", 1))
        return events

    assert asyncio.run(go()) == [
        *("first begins", "first ends", "second begins", "second ends"),
        *("third begins", "third ends"),
    ]


@pytest.mark.parametrize("granted", [False, True])
def test_a_budget_loses_nothing_to_a_task_that_is_cancelled(granted: bool) -> None:
    """Also if its turn has come, but it has not run since."""

    async def go() -> None:
        budget = concurrency.Budget(10)
        give_back = await budget.take(10)
        waiting = asyncio.create_task(budget.take(7))
        behind = asyncio.create_task(budget.take(3))
        await asyncio.sleep(0)
        if granted:
            give_back()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not granted:
            give_back()
        (await behind)()
        async with asyncio.timeout(1):
            await budget.take(10)

    asyncio.run(go())

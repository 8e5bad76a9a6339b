"""Work off the event loop: who waits for it, who gives way, and what is never begun."""

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import threads

linux_alone = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities here")


def steps() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_is_done_in_a_thread_of_the_pool() -> None:
    with ThreadPoolExecutor(1, "some") as pool:
        name = asyncio.run(threads.run(lambda: threading.current_thread().name, pool))
    assert name.startswith("some")


def test_what_work_raises_is_raised_where_it_is_awaited() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        asyncio.run(threads.run(lambda: 1 // 0, pool))


def test_who_is_cancelled_while_no_thread_is_free_has_nothing_done() -> None:
    done: list[str] = []
    free = threading.Event()

    async def cancel_the_second(pool: ThreadPoolExecutor) -> None:
        first = asyncio.create_task(threads.run(free.wait, pool))
        second = asyncio.create_task(threads.run(lambda: done.append("second"), pool))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        free.set()
        await first

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(cancel_the_second(pool))
    assert done == []


def test_work_under_way_has_not_ended_when_its_caller_goes() -> None:
    begun, free = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        free.wait()

    async def go(pool: ThreadPoolExecutor) -> None:
        ended = asyncio.Event()
        caller = asyncio.create_task(threads.run(work, pool, ended.set))
        await asyncio.to_thread(begun.wait)
        caller.cancel()
        await asyncio.wait([caller])
        assert not ended.is_set()
        free.set()
        await ended.wait()

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(go(pool))


@linux_alone
def test_writers_give_way_to_the_network_and_so_do_threads_that_they_start() -> None:
    def start_another() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(steps).result()

    writers = threads.some_writers()
    assert asyncio.run(threads.run(steps, writers)) >= threads.BEHIND > threads.NETWORK
    assert asyncio.run(threads.run(start_another, writers)) >= threads.BEHIND


@linux_alone
def test_a_thread_that_has_given_way_further_stays_where_it_is() -> None:
    def step_back_twice() -> int:
        threads.step_back(12)
        threads.step_back(5)
        return steps()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(step_back_twice).result() == max(12, steps())

"""Who is waited for comes first; other work has its turn in the pauses, or else after a while."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from service import pauses
from service.pauses import Pauses


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "PATIENCE", 60.0)


async def work(place: Pauses, done: list[str], name: str) -> None:
    async with place.turn():
        done.append(name)


@on_a_loop
async def test_where_nobody_is_or_has_been_work_is_done_at_once_and_together() -> None:
    place = Pauses()
    async with place.turn() as first, place.turn() as second:
        assert (first, second) == (False, False)


@pytest.mark.usefixtures("endless")
@on_a_loop
async def test_work_waits_until_all_guests_have_left() -> None:
    place, done = Pauses(), list[str]()
    guests = [place.welcome(), place.welcome()]
    working = asyncio.create_task(work(place, done, "work"))
    for guest in guests:
        await asyncio.sleep(0.01)
        assert done == []
        guest.leave()
    await working
    assert done == ["work"]


@on_a_loop
async def test_guests_who_never_leave_do_not_keep_work_from_its_turn_for_ever() -> None:
    place, done = Pauses(), list[str]()
    place.welcome()
    await asyncio.gather(work(place, done, "one"), work(place, done, "another"))
    assert sorted(done) == ["another", "one"]


@on_a_loop
async def test_who_has_just_left_may_come_again_so_work_has_its_turn_one_at_a_time() -> None:
    place, done = Pauses(), list[str]()
    place.welcome().leave()
    async with place.turn() as guests:
        assert guests
        other = asyncio.create_task(work(place, done, "other"))
        await asyncio.sleep(0.05)
        assert done == []
    await other
    assert done == ["other"]


@pytest.mark.usefixtures("endless")
@on_a_loop
async def test_a_guest_leaves_but_once() -> None:
    place, done = Pauses(), list[str]()
    stays, leaves = place.welcome(), place.welcome()
    leaves.leave()
    leaves.leave()
    working = asyncio.create_task(work(place, done, "work"))
    await asyncio.sleep(0.01)
    assert done == []
    stays.leave()
    await working


@pytest.mark.usefixtures("endless")
@on_a_loop
async def test_work_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    place, done = Pauses(), list[str]()
    guest = place.welcome()
    first = asyncio.create_task(work(place, done, "first"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(work(place, done, "second"))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    guest.leave()
    await second
    assert done == ["second"]

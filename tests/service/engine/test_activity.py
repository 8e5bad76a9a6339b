"""Who is waited for comes first; other work has its turn in the pauses, or else after a while."""

import asyncio

import pytest

from service.engine import activity
from service.engine.activity import ActivityTracker


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MAX_WAIT_SECONDS", 60.0)


def test_nobody_is_expected_where_nobody_has_been() -> None:
    place = ActivityTracker()
    assert not place.recently_active
    assert asyncio.run(place.wait())


def test_who_has_just_left_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = ActivityTracker()
    with place.track():
        assert place.recently_active
    assert place.recently_active
    monkeypatch.setattr(activity, "RECENT_SECONDS", 0.0)
    assert not place.recently_active


@pytest.mark.usefixtures("endless")
def test_work_waits_until_all_guests_have_left() -> None:
    async def go() -> list[str]:
        place, done = ActivityTracker(), list[str]()
        with place.track():
            with place.track():
                waiting = asyncio.create_task(place.wait())
                await asyncio.sleep(0.01)
                done += ["early"] * waiting.done()
            await asyncio.sleep(0.01)
            done += ["early"] * waiting.done()
        assert await waiting
        return done

    assert asyncio.run(go()) == []


@pytest.mark.usefixtures("endless")
def test_who_comes_as_another_leaves_is_waited_for_too() -> None:
    async def go() -> bool:
        place = ActivityTracker()
        with place.track():
            waiting = asyncio.create_task(place.wait())
            await asyncio.sleep(0.01)
        with place.track():
            await asyncio.sleep(0.01)
            early = waiting.done()
        assert await waiting
        return early

    assert not asyncio.run(go())


def test_guests_who_never_leave_do_not_keep_work_from_its_turn_for_ever() -> None:
    async def go() -> bool:
        place = ActivityTracker()
        with place.track():
            return await place.wait()

    assert not asyncio.run(go())


@pytest.mark.usefixtures("endless")
def test_work_that_is_cut_off_while_it_waits_is_over() -> None:
    async def go() -> None:
        place = ActivityTracker()
        with place.track():
            async with asyncio.timeout(0.01):
                await place.wait()

    with pytest.raises(TimeoutError):
        asyncio.run(go())

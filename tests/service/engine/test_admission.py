"""Admission: capacity in images for each priority, permits, and idle moments."""

import asyncio

import pytest

from service.engine.admission import AdmissionController
from service.engine.types import Priority
from service.errors import QueueFullError, UnavailableError

INTERACTIVE, BACKGROUND = Priority.INTERACTIVE, Priority.BACKGROUND


@pytest.fixture
def admission() -> AdmissionController:
    """A controller with a capacity of two images per priority, and a long idle timeout."""
    return AdmissionController(dict.fromkeys(Priority, 2), idle_timeout=60.0)


def test_capacity_counts_images_and_admits_all_of_a_request_or_none(
    admission: AdmissionController,
) -> None:
    with admission.permit(INTERACTIVE, 1):
        with pytest.raises(QueueFullError, match="1 images are in progress, and at most 2 may"):
            admission.permit(INTERACTIVE, 2)
        assert admission.in_flight(INTERACTIVE) == 1
        with admission.permit(INTERACTIVE, 1), pytest.raises(QueueFullError, match="Try again"):
            admission.check(INTERACTIVE)
    admission.check(INTERACTIVE, 2)
    assert admission.in_flight(INTERACTIVE) == 0


def test_each_priority_has_a_capacity_of_its_own(admission: AdmissionController) -> None:
    with admission.permit(BACKGROUND, 2):
        with pytest.raises(QueueFullError):
            admission.permit(BACKGROUND)
        with admission.permit(INTERACTIVE, 2):
            assert admission.in_flight(BACKGROUND) == 2


def test_an_unhealthy_engine_admits_no_image_but_work_without_images() -> None:
    def fail() -> None:
        raise UnavailableError("The worker is being restarted.")

    admission = AdmissionController(dict.fromkeys(Priority, 2), fail)
    with pytest.raises(UnavailableError):
        admission.check(INTERACTIVE)
    with pytest.raises(UnavailableError):
        admission.permit(BACKGROUND)
    with admission.permit(INTERACTIVE, 0):
        assert admission.recently_active


def test_a_permit_counts_until_the_threads_that_retain_it_have_ended(
    admission: AdmissionController,
) -> None:
    with admission.permit(INTERACTIVE, 2) as permit:
        ends = [permit.retain(), permit.retain()]
    for end in ends:
        assert admission.in_flight(INTERACTIVE) == 2
        assert not admission.idle
        end()
    assert admission.in_flight(INTERACTIVE) == 0
    assert admission.idle


def test_a_permit_is_released_if_its_request_fails(admission: AdmissionController) -> None:
    with pytest.raises(ZeroDivisionError), admission.permit(INTERACTIVE, 2):
        raise ZeroDivisionError
    assert admission.in_flight(INTERACTIVE) == 0


def test_the_last_interactive_permit_that_is_released_tells_of_an_idle_moment() -> None:
    calls: list[bool] = []
    controller = AdmissionController(
        dict.fromkeys(Priority, 2), on_idle=lambda: calls.append(controller.idle)
    )
    with controller.permit(INTERACTIVE):
        with controller.permit(INTERACTIVE), controller.permit(BACKGROUND):
            pass
        assert calls == []
    assert calls == [True]


def test_no_request_is_expected_before_the_first_one(admission: AdmissionController) -> None:
    assert not admission.recently_active
    assert asyncio.run(admission.wait_idle())


def test_another_request_is_expected_for_a_while_after_one(admission: AdmissionController) -> None:
    with admission.permit(BACKGROUND):
        assert not admission.recently_active
    with admission.permit(INTERACTIVE):
        assert admission.recently_active
    assert admission.recently_active
    admission.recent_seconds = 0.0
    assert not admission.recently_active


def test_an_idle_moment_comes_when_all_interactive_permits_are_released(
    admission: AdmissionController,
) -> None:
    async def go() -> list[str]:
        early = list[str]()
        with admission.permit(INTERACTIVE):
            with admission.permit(INTERACTIVE):
                waiting = asyncio.create_task(admission.wait_idle())
                await asyncio.sleep(0.01)
                early += ["both"] * waiting.done()
            await asyncio.sleep(0.01)
            early += ["one"] * waiting.done()
        assert await waiting
        return early

    assert asyncio.run(go()) == []


def test_there_is_no_idle_moment_if_a_permit_is_given_as_another_is_released(
    admission: AdmissionController,
) -> None:
    async def go() -> bool:
        with admission.permit(INTERACTIVE):
            waiting = asyncio.create_task(admission.wait_idle())
            await asyncio.sleep(0.01)
        with admission.permit(INTERACTIVE):
            await asyncio.sleep(0.01)
            early = waiting.done()
        assert await waiting
        return early

    assert not asyncio.run(go())


def test_the_wait_for_an_idle_moment_ends_after_its_timeout(
    admission: AdmissionController,
) -> None:
    async def go() -> bool:
        admission.idle_timeout = 0.02
        with admission.permit(INTERACTIVE):
            return await admission.wait_idle()

    assert not asyncio.run(go())


def test_the_wait_for_an_idle_moment_can_be_cancelled(admission: AdmissionController) -> None:
    async def go() -> None:
        with admission.permit(INTERACTIVE):
            async with asyncio.timeout(0.01):
                await admission.wait_idle()

    with pytest.raises(TimeoutError):
        asyncio.run(go())

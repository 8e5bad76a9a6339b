"""The order of the queue, and the pace of background images during interactive requests."""

import math
import time
from collections.abc import Iterable
from concurrent.futures import Future

import pytest

from service.engine.admission import AdmissionController
from service.engine.queue import BatchItem, RequestQueue
from service.engine.types import Entry, Outcomes, Priority
from service.errors import DeadlinePassedError, QueueFullError
from tests.support.fakes import flat

INTERACTIVE, BACKGROUND = Priority.INTERACTIVE, Priority.BACKGROUND


@pytest.fixture
def admission() -> AdmissionController:
    """A controller with a capacity of 100 images per priority, and a long idle timeout."""
    return AdmissionController(dict.fromkeys(Priority, 100), idle_timeout=60.0, recent_seconds=60.0)


@pytest.fixture
def queue(admission: AdmissionController) -> RequestQueue:
    return RequestQueue(admission)


def entries(count: int, priority: Priority, deadline: float = math.inf) -> list[Entry]:
    """Return entries of one image each."""
    return [Entry([flat(0)], deadline, Future(), priority=priority) for _ in range(count)]


def add(queue: RequestQueue, added: Iterable[Entry]) -> None:
    for entry in added:
        queue.add(entry)


def entries_of(batch: Iterable[BatchItem]) -> list[Entry]:
    return [item.entry for item in batch]


def sizes(queue: RequestQueue, limit: int = 64) -> list[tuple[Priority, int]]:
    """Priority and size of all batches that may run now."""
    found = []
    while batch := queue.next_batch(limit):
        found.append((batch[0].entry.priority, len(batch)))
    return found


def test_interactive_images_go_first_and_background_images_in_small_batches(
    queue: RequestQueue,
) -> None:
    add(queue, entries(20, BACKGROUND))
    add(queue, entries(70, INTERACTIVE))
    assert (len(queue), queue.count(BACKGROUND), queue.count(INTERACTIVE)) == (90, 20, 70)
    assert sizes(queue) == [
        *((INTERACTIVE, 64), (INTERACTIVE, 6)),
        *((BACKGROUND, 8), (BACKGROUND, 8), (BACKGROUND, 4)),
    ]


def test_every_fifth_batch_is_background_if_both_wait(queue: RequestQueue) -> None:
    add(queue, entries(2, BACKGROUND))
    add(queue, entries(10, INTERACTIVE))
    order = [priority for priority, _ in sizes(queue, limit=1)]
    assert (
        order
        == [INTERACTIVE] * 4 + [BACKGROUND] + [INTERACTIVE] * 4 + [BACKGROUND] + [INTERACTIVE] * 2
    )


def test_requests_of_one_priority_run_one_after_another(queue: RequestQueue) -> None:
    first, second = entries(6, BACKGROUND), entries(6, BACKGROUND)
    add(queue, first)
    add(queue, second)
    assert entries_of([*queue.next_batch(64), *queue.next_batch(64)]) == [*first, *second]


def test_background_images_run_one_at_a_time_in_an_idle_moment(
    queue: RequestQueue, admission: AdmissionController
) -> None:
    with admission.permit(INTERACTIVE):
        pass
    add(queue, entries(3, BACKGROUND))
    assert sizes(queue) == [(BACKGROUND, 1)] * 3


def test_background_images_wait_for_an_idle_moment_but_not_longer_than_the_timeout(
    queue: RequestQueue, admission: AdmissionController
) -> None:
    with admission.permit(INTERACTIVE):
        add(queue, entries(6, BACKGROUND))
        assert queue.next_batch(64) == ()
        assert 0 < (queue.background_delay or 0) <= admission.idle_timeout
        admission.idle_timeout = 0.0
        assert queue.background_delay == 0
        assert sizes(queue) == [(BACKGROUND, 4), (BACKGROUND, 2)]
    assert queue.background_delay is None


def test_background_images_wait_again_after_each_batch(
    queue: RequestQueue, admission: AdmissionController
) -> None:
    with admission.permit(INTERACTIVE):
        add(queue, entries(8, BACKGROUND))
        admission.idle_timeout = 0.0
        assert len(queue.next_batch(64)) == 4
        queue.record_background(4)
        admission.idle_timeout = 60.0
        assert queue.next_batch(64) == ()


def test_background_images_that_would_be_too_late_are_refused_at_once(queue: RequestQueue) -> None:
    add(queue, entries(1, BACKGROUND))
    time.sleep(0.01)
    queue.record_background(1)  # about a millisecond for each image, smoothed
    add(queue, entries(10, BACKGROUND, time.monotonic() + 60))
    with pytest.raises(QueueFullError, match="11 images wait to be added"):
        add(queue, entries(10, BACKGROUND, time.monotonic() + 0.001))
    assert queue.count(BACKGROUND) == 11
    assert sizes(queue) == [(BACKGROUND, 8), (BACKGROUND, 3)]
    add(
        queue, entries(10, BACKGROUND, time.monotonic() + 0.5)
    )  # nothing waits: the next is in time
    assert queue.count(BACKGROUND) == 10


def test_a_removed_entry_is_not_in_a_batch(queue: RequestQueue) -> None:
    first, second, third = entries(3, INTERACTIVE)
    add(queue, [first, second, third])
    queue.remove(second)
    assert entries_of(queue.next_batch(64)) == [first, third]
    queue.remove(first)  # it has left the queue: nothing happens


def test_expired_entries_fail_and_take_no_place_in_a_batch(queue: RequestQueue) -> None:
    late, (live,) = entries(3, INTERACTIVE, time.monotonic()), entries(1, INTERACTIVE)
    add(queue, late)
    add(queue, [live])
    assert entries_of(queue.next_batch(1)) == [live]
    for entry in late:
        assert isinstance(entry.future.exception(), DeadlinePassedError)


def test_background_images_run_if_all_interactive_ones_have_expired(queue: RequestQueue) -> None:
    add(queue, entries(3, BACKGROUND))
    add(queue, entries(3, INTERACTIVE, time.monotonic()))
    assert sizes(queue) == [(BACKGROUND, 3)]


def test_clear_returns_all_entries(queue: RequestQueue) -> None:
    add(queue, entries(2, BACKGROUND))
    add(queue, entries(3, INTERACTIVE))
    assert len(queue.clear()) == 5
    assert len(queue) == 0


def test_the_images_of_one_request_fill_a_batch_and_begin_the_next(queue: RequestQueue) -> None:
    future: Future[Outcomes] = Future()
    group = Entry([flat(shade) for shade in range(5)], math.inf, future)
    add(queue, [*entries(2, INTERACTIVE), group, *entries(1, INTERACTIVE)])
    assert len(queue) == 8
    first, second = queue.next_batch(4), queue.next_batch(64)
    assert [item.number for item in first if item.entry is group] == [0, 1]
    assert [item.number for item in second if item.entry is group] == [2, 3, 4]
    assert len(second) == 4
    assert len(queue) == 0


def test_a_request_that_is_removed_between_its_batches_leaves_no_image(queue: RequestQueue) -> None:
    group = Entry([flat(0)] * 5, math.inf, Future())
    queue.add(group)
    assert len(queue.next_batch(2)) == 2
    queue.remove(group)
    assert len(queue) == 0
    assert queue.next_batch(64) == ()

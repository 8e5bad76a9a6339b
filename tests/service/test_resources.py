"""A shared resource is closed once its owner and all users have released it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.resources import RefCounted


class Resource:
    """Counts how often it has been closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def resource() -> Resource:
    return Resource()


@pytest.fixture
def shared(resource: Resource) -> RefCounted[Resource]:
    return RefCounted(resource, resource.close)


def test_a_resource_without_users_stays_open_until_its_owner_releases_it(
    shared: RefCounted[Resource], resource: Resource
) -> None:
    with shared.acquire() as one, shared.acquire() as other:
        assert one is other is resource
        assert shared.users == 2
    assert (shared.users, resource.closed) == (0, 0)
    shared.release()
    shared.release()
    assert resource.closed == 1


def test_a_released_resource_is_closed_by_its_last_user(
    shared: RefCounted[Resource], resource: Resource
) -> None:
    with shared.acquire():
        shared.release()
        with shared.acquire():
            pass
        assert resource.closed == 0
    assert resource.closed == 1
    with pytest.raises(RuntimeError, match="closed"), shared.acquire():
        pass


def test_a_failing_user_counts_no_longer(shared: RefCounted[Resource], resource: Resource) -> None:
    with pytest.raises(ZeroDivisionError), shared.acquire():
        raise ZeroDivisionError
    shared.release()
    assert resource.closed == 1


def test_the_event_loop_can_wait_for_the_last_user(
    shared: RefCounted[Resource], resource: Resource
) -> None:
    async def go() -> None:
        with shared.acquire():
            shared.release()
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(shared.wait_closed(), 0.01)
        await asyncio.wait_for(shared.wait_closed(), 1)
        assert resource.closed == 1

    asyncio.run(go())


def test_many_threads_close_a_resource_once(
    shared: RefCounted[Resource], resource: Resource
) -> None:
    def use(_: int) -> None:
        with shared.acquire() as one:
            assert one.closed == 0

    with shared.acquire(), ThreadPoolExecutor(8) as threads:
        shared.release()
        list(threads.map(use, range(500)))
    assert resource.closed == 1
    assert shared.users == 0

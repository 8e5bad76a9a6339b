"""A failed client is not handed out again, and its last user closes it."""

from collections.abc import Callable

import pytest
from pymilvus import MilvusException

from service.gallery.milvus.client_pool import ClientPool


class Client:
    """A fake client that records whether it was closed."""

    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def clients() -> ClientPool:
    connect: Callable[[], Client] = Client
    return ClientPool(connect)


def test_all_users_share_one_client_until_the_pool_is_closed(clients: ClientPool) -> None:
    with clients.acquire() as one, clients.acquire() as other:
        assert one is other
    with clients.acquire() as again:
        assert again is one
    assert not one.closed
    clients.close()
    assert one.closed


def test_a_client_that_fails_one_user_stays_open_for_the_others(clients: ClientPool) -> None:
    with clients.acquire() as used:
        with pytest.raises(MilvusException), clients.acquire() as failing:
            raise MilvusException(message="too late")
        assert failing is used
        assert not used.closed
        with clients.acquire() as fresh:
            assert fresh is not used
    assert used.closed
    assert not fresh.closed


def test_a_second_failure_of_an_old_client_does_not_replace_the_new_one(
    clients: ClientPool,
) -> None:
    with pytest.raises(MilvusException), clients.acquire() as failing:
        with pytest.raises(MilvusException), clients.acquire():
            raise MilvusException(message="too late")
        with clients.acquire() as fresh:
            pass
        raise MilvusException(message="too late as well")
    with clients.acquire() as now:
        assert now is fresh
    assert failing.closed


def test_a_failed_connection_is_tried_again_by_the_next_user(clients: ClientPool) -> None:
    failures = [MilvusException(message="not there")]

    def connect() -> Client:
        if failures:
            raise failures.pop()
        return Client()

    pool = ClientPool(connect)
    with pytest.raises(MilvusException), pool.acquire():
        pass
    with pool.acquire() as client:
        assert not client.closed

"""A client that has failed is lent to nobody more, and is closed by the last who has it."""

from collections.abc import Callable

import pytest
from pymilvus import MilvusException

from service.gallery.milvus.client_pool import ClientPool


class Client:
    """Knows whether it has been closed."""

    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def clients() -> ClientPool:
    connect: Callable[[], Client] = Client
    return ClientPool(connect)


def test_all_share_one_until_it_is_closed(clients: ClientPool) -> None:
    with clients.acquire() as one, clients.acquire() as other:
        assert one is other
    with clients.acquire() as again:
        assert again is one
    assert not one.closed
    clients.close()
    assert one.closed


def test_who_is_asking_by_one_that_fails_another_may_go_on(clients: ClientPool) -> None:
    with clients.acquire() as asking:
        with pytest.raises(MilvusException), clients.acquire() as failing:
            raise MilvusException(message="too late")
        assert failing is asking
        assert not asking.closed
        with clients.acquire() as fresh:
            assert fresh is not asking
    assert asking.closed
    assert not fresh.closed


def test_one_that_fails_all_who_have_it_takes_no_newer_one_away(clients: ClientPool) -> None:
    with pytest.raises(MilvusException), clients.acquire() as failing:
        with pytest.raises(MilvusException), clients.acquire():
            raise MilvusException(message="too late")
        with clients.acquire() as fresh:
            pass
        raise MilvusException(message="too late as well")
    with clients.acquire() as now:
        assert now is fresh
    assert failing.closed


def test_one_that_cannot_connect_is_tried_anew(clients: ClientPool) -> None:
    failures = [MilvusException(message="not there")]

    def connect() -> Client:
        if failures:
            raise failures.pop()
        return Client()

    trying = ClientPool(connect)
    with pytest.raises(MilvusException), trying.acquire():
        pass
    with trying.acquire() as client:
        assert not client.closed

"""Searches of a batch run in parallel with the next batch, and fail only their own images."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress

import pytest

from service.engine.backends.torch_eager import TorchEager
from service.engine.engine import Engine
from service.engine.types import Embeddings, SearchQuery
from service.errors import InferenceFailedError, UnavailableError
from service.gallery.types import Item, ScoredItem
from service.vectors import Queries
from tests.service.engine.test_engine import occupy, soon
from tests.support.fakes import BATCH_TIMEOUT, ScriptedNetwork, flat, running, submit
from training.bundle import Layer

TEN = SearchQuery("conv2", 10)


class ScriptedSearch:
    """A search that waits at a gate, records its sizes, and fails on demand."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.sizes: list[int] = []
        self.failure: dict[int, BaseException] = {}

    def __call__(self, layer: Layer, vectors: Queries, limit: int) -> list[list[ScoredItem]]:
        self.entered.set()
        assert self.gate.wait(BATCH_TIMEOUT)
        self.sizes.append(len(vectors))
        if error := self.failure.get(len(vectors)):
            raise error
        return [
            [ScoredItem(Item(f"{layer}-{limit}", "cat", None), float(one[0]))] for one in vectors
        ]


@pytest.fixture
def scripted_search() -> Iterator[ScriptedSearch]:
    found = ScriptedSearch()
    yield found
    found.gate.set()


def test_the_next_batch_runs_during_the_searches_of_the_last(
    network: ScriptedNetwork, scripted_search: ScriptedSearch
) -> None:
    with running(
        Engine(TorchEager(network, device="cpu"), scripted_search, max_batch_size=1)
    ) as engine:
        first = occupy(engine, network)
        scripted_search.gate.clear()
        searching, plain = (
            submit(engine, [flat(1)], soon(), [TEN]),
            submit(engine, [flat(2)], soon()),
        )
        network.gate.set()
        assert plain[0].result(BATCH_TIMEOUT).matches == {}
        assert not searching[0].done()
        scripted_search.gate.set()
        ((match,),) = searching[0].result(BATCH_TIMEOUT).matches.values()
        assert match.item.id == "conv2-10"
        assert first.done()


def test_searches_do_not_pile_up(network: ScriptedNetwork, scripted_search: ScriptedSearch) -> None:
    with running(
        Engine(TorchEager(network, device="cpu"), scripted_search, max_batch_size=1)
    ) as engine:
        occupy(engine, network)
        scripted_search.gate.clear()
        searching = submit(engine, [flat(1), flat(2), flat(3)], soon(), [TEN])
        network.gate.set()
        assert scripted_search.entered.wait(BATCH_TIMEOUT)
        (last,) = submit(engine, [flat(4)], soon())
        with pytest.raises(TimeoutError):
            last.result(0.3)
        assert network.seen == [0, 1, 2]  # one search runs, and one batch waits for it
        scripted_search.gate.set()
        for future in (*searching, last):
            future.result(BATCH_TIMEOUT)


def test_a_failing_batch_search_is_repeated_image_by_image_without_the_network(
    network: ScriptedNetwork, scripted_search: ScriptedSearch
) -> None:
    scripted_search.failure[3] = ValueError("three are too many")
    with running(Engine(TorchEager(network, device="cpu"), scripted_search)) as engine:
        occupy(engine, network)
        searching = submit(engine, [flat(1), flat(2), flat(3)], soon(), [TEN])
        network.gate.set()
        assert all(len(future.result(BATCH_TIMEOUT).matches) == 1 for future in searching)
        scripted_search.failure[1] = ValueError("one is too few")
        (failing,) = submit(engine, [flat(4)], soon(), [TEN])
        with pytest.raises(InferenceFailedError, match="one is too few"):
            failing.result(BATCH_TIMEOUT)
        (plain,) = submit(engine, [flat(5)], soon())
        plain.result(BATCH_TIMEOUT)
    assert scripted_search.sizes == [3, 1, 1, 1, 1, 1]
    assert network.seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("in_background", [False, True])
def test_a_search_that_kills_its_thread_fails_its_images_and_the_worker_is_restarted(
    network: ScriptedNetwork, scripted_search: ScriptedSearch, in_background: bool
) -> None:
    scripted_search.failure[1] = SystemExit()
    with running(
        Engine(TorchEager(network, device="cpu"), scripted_search, max_batch_size=1)
    ) as engine:
        occupy(engine, network)
        (dying,) = submit(engine, [flat(1)], soon(), [TEN])
        others = submit(engine, [flat(2), flat(3)], soon(), [TEN]) if in_background else []
        network.gate.set()
        for future in (dying, *others):
            with pytest.raises(UnavailableError, match="died"):
                future.result(BATCH_TIMEOUT)
        scripted_search.failure.clear()
        assert len(search_when_ready(engine).result(BATCH_TIMEOUT).matches) == 1


def search_when_ready(engine: Engine) -> "Future[Embeddings]":
    """Submit an image with a search, again and again until the restarted worker returns it."""
    deadline = soon()
    while True:
        assert time.monotonic() < deadline
        with suppress(UnavailableError):
            (future,) = submit(engine, [flat(4)], soon(), [TEN])
            future.result(BATCH_TIMEOUT)
            return future
        time.sleep(0.01)

"""What a batch asks of the gallery is looked for beside the next one, and fails nobody else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress

import pytest

from service.engine.backends.torch_eager import TorchEager
from service.engine.engine import Engine
from service.engine.types import Representation, Search
from service.errors import InferenceFailedError, UnavailableError
from service.gallery.types import Item, Match
from service.vectors import Queries
from tests.service.engine.test_engine import occupy, soon
from tests.support.fakes import CPU, PATIENCE, Obedient, flat, running
from training.bundle import Layer

TEN = Search("conv2", 10)


class Seeker:
    """A search that waits at a gate, and fails as it is told."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.asked: list[int] = []
        self.failure: dict[int, BaseException] = {}

    def __call__(self, layer: Layer, vectors: Queries, limit: int) -> list[list[Match]]:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        self.asked.append(len(vectors))
        if error := self.failure.get(len(vectors)):
            raise error
        return [[Match(Item(f"{layer}-{limit}", "cat", None), float(one[0]))] for one in vectors]


@pytest.fixture
def seeker() -> Iterator[Seeker]:
    found = Seeker()
    yield found
    found.gate.set()


def test_the_network_goes_on_while_a_batch_is_searched_for(
    network: Obedient, seeker: Seeker
) -> None:
    with running(Engine(TorchEager(network, device=CPU), seeker, max_batch=1)) as engine:
        first = occupy(engine, network)
        seeker.gate.clear()
        asking, plain = engine.submit([flat(1)], soon(), [TEN]), engine.submit([flat(2)], soon())
        network.gate.set()
        assert plain[0].result(PATIENCE).matches == {}
        assert not asking[0].done()
        seeker.gate.set()
        ((match,),) = asking[0].result(PATIENCE).matches.values()
        assert match.item.id == "conv2-10"
        assert first.done()


def test_searches_do_not_pile_up(network: Obedient, seeker: Seeker) -> None:
    with running(Engine(TorchEager(network, device=CPU), seeker, max_batch=1)) as engine:
        occupy(engine, network)
        seeker.gate.clear()
        asking = engine.submit([flat(1), flat(2), flat(3)], soon(), [TEN])
        network.gate.set()
        assert seeker.entered.wait(PATIENCE)
        (last,) = engine.submit([flat(4)], soon())
        with pytest.raises(TimeoutError):
            last.result(0.3)
        assert network.seen == [0, 1, 2]  # one is searched for, one waits for that
        seeker.gate.set()
        for future in (*asking, last):
            future.result(PATIENCE)


def test_a_search_that_fails_together_is_made_one_by_one_and_nothing_is_run_again(
    network: Obedient, seeker: Seeker
) -> None:
    seeker.failure[3] = ValueError("three are too many")
    with running(Engine(TorchEager(network, device=CPU), seeker)) as engine:
        occupy(engine, network)
        asking = engine.submit([flat(1), flat(2), flat(3)], soon(), [TEN])
        network.gate.set()
        assert all(len(future.result(PATIENCE).matches) == 1 for future in asking)
        seeker.failure[1] = ValueError("one is too few")
        (failing,) = engine.submit([flat(4)], soon(), [TEN])
        with pytest.raises(InferenceFailedError, match="one is too few"):
            failing.result(PATIENCE)
        (plain,) = engine.submit([flat(5)], soon())
        plain.result(PATIENCE)
    assert seeker.asked == [3, 1, 1, 1, 1, 1]
    assert network.seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("beside", [False, True])
def test_a_search_that_dies_is_told_and_the_worker_is_back(
    network: Obedient, seeker: Seeker, beside: bool
) -> None:
    seeker.failure[1] = SystemExit()
    with running(Engine(TorchEager(network, device=CPU), seeker, max_batch=1)) as engine:
        occupy(engine, network)
        (dying,) = engine.submit([flat(1)], soon(), [TEN])
        others = engine.submit([flat(2), flat(3)], soon(), [TEN]) if beside else []
        network.gate.set()
        for future in (dying, *others):
            with pytest.raises(UnavailableError, match="died"):
                future.result(PATIENCE)
        seeker.failure.clear()
        assert len(when_ready(engine).result(PATIENCE).matches) == 1


def when_ready(engine: Engine) -> "Future[Representation]":
    """An image that is searched for, as soon as the worker takes one and does not drop it."""
    deadline = soon()
    while True:
        assert time.monotonic() < deadline
        with suppress(UnavailableError):
            (future,) = engine.submit([flat(4)], soon(), [TEN])
            future.result(PATIENCE)
            return future
        time.sleep(0.01)

"""The engine: batches without a waiting window, a supervised worker, errors of single images."""

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from torch import Tensor

from service.engine.backends.torch_eager import TorchEager
from service.engine.batch import Batch
from service.engine.engine import Engine
from service.engine.types import Embeddings, Priority, SearchQuery
from service.errors import (
    DeadlinePassedError,
    InferenceFailedError,
    UnavailableError,
)
from service.gallery.types import Item, ScoredItem
from service.vectors import Queries
from tests.support.fakes import BATCH_TIMEOUT, ScriptedNetwork, cosine, flat, running, submit
from training import bundle
from training.bundle import Bundle, Layer, Pixels


def soon() -> float:
    return time.monotonic() + BATCH_TIMEOUT


def occupy(engine: Engine, network: ScriptedNetwork) -> "Future[Embeddings]":
    """Block the network in a batch of one black image."""
    network.gate.clear()
    network.forget()
    (future,) = submit(engine, [flat(0)], soon())
    assert network.entered.wait(BATCH_TIMEOUT)
    return future


def wait_until_ready(engine: Engine) -> None:
    deadline = soon()
    while engine.unhealthy_reason and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.unhealthy_reason is None


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_the_worker_has_a_lower_priority_than_the_event_loop(network: ScriptedNetwork) -> None:
    others = set(threading.enumerate())
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        (worker,) = {one for one in threading.enumerate() if one.name == "engine"} - others
        assert worker.native_id is not None
        ours, its = (os.getpriority(os.PRIO_PROCESS, one) for one in (0, worker.native_id))
        assert its > ours or ours == 19  # there is none lower
        assert engine.unhealthy_reason is None


def test_an_image_has_the_same_embeddings_alone_and_in_a_batch_of_32(loaded: Bundle) -> None:
    pixels = loaded.gallery.pixels
    assert pixels is not None
    network = bundle.load(loaded.path).network
    images = [np.array(image) for image in pixels[:32]]
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        together = asyncio.run(engine.embed(images, soon()))
        for image, companion in zip(images, together, strict=True):
            (alone,) = asyncio.run(engine.embed([image], soon()))
            assert isinstance(alone, Embeddings)
            assert isinstance(companion, Embeddings)
            assert cosine(alone.layers["conv2"], companion.layers["conv2"]) >= 0.9999
            assert alone.layers["logits"].argmax() == companion.layers["logits"].argmax()


def test_embeddings_have_the_dimensions_of_their_layers(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        (found,) = asyncio.run(engine.embed([flat(7)], soon()))
        assert isinstance(found, Embeddings)
        assert {layer: len(vector) for layer, vector in found.layers.items()} == engine.dimensions
        assert engine.dimensions == {"conv2": 8192, "penultimate": 512, "logits": 10}


def test_images_that_wait_run_at_once_up_to_max_batch_size(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"), max_batch_size=4)) as engine:
        first = occupy(engine, network)
        futures = submit(engine, [flat(shade) for shade in range(1, 7)], soon())
        network.gate.set()
        for future in (first, *futures):
            future.result(BATCH_TIMEOUT)
        assert network.batches == [1, 4, 2]


def test_interactive_images_run_first_and_background_images_in_small_batches(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        first = occupy(engine, network)
        background = submit(engine, [flat(200)] * 20, soon(), priority=Priority.BACKGROUND)
        interactive = submit(engine, [flat(1), flat(2)], soon())
        assert engine.depth == 22
        network.gate.set()
        for future in (first, *interactive, *background):
            future.result(BATCH_TIMEOUT)
        assert network.batches == [1, 2, 8, 8, 4]
        assert network.seen[:3] == [0, 1, 2]


def test_background_images_run_though_interactive_images_always_wait(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"), max_batch_size=1)) as engine:
        first = occupy(engine, network)
        (background,) = submit(engine, [flat(200)], soon(), priority=Priority.BACKGROUND)
        interactive = submit(engine, [flat(shade) for shade in range(1, 9)], soon())
        network.gate.set()
        for future in (first, background, *interactive):
            future.result(BATCH_TIMEOUT)
        assert network.seen == [0, 1, 2, 3, 4, 200, 5, 6, 7, 8]


def test_abandoned_images_leave_the_queue_at_once(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        occupy(engine, network)
        abandoned = submit(engine, [flat(1)] * 2, soon())
        (other,) = submit(engine, [flat(2)], soon())
        for future in abandoned:
            future.cancel()
        assert engine.depth == 1
        network.gate.set()
        other.result(BATCH_TIMEOUT)
        assert network.seen == [0, 2]


def test_background_images_run_in_the_idle_moments_of_interactive_requests(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        engine.admission.idle_timeout = engine.admission.recent_seconds = BATCH_TIMEOUT
        network.forget()
        with engine.admission.permit(Priority.INTERACTIVE):
            waiting = submit(engine, [flat(1)] * 3, soon(), priority=Priority.BACKGROUND)
            time.sleep(0.05)
            assert network.batches == []
        for future in waiting:
            future.result(BATCH_TIMEOUT)
        assert network.batches == [1, 1, 1]


def test_background_images_run_though_there_is_no_idle_moment(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        network.forget()
        with engine.admission.permit(Priority.INTERACTIVE):
            for future in submit(engine, [flat(1)] * 6, soon(), priority=Priority.BACKGROUND):
                future.result(BATCH_TIMEOUT)
        assert network.batches == [4, 2]


def test_equal_searches_of_a_batch_are_made_together(network: ScriptedNetwork) -> None:
    searched: list[tuple[str, int, int]] = []

    def search(layer: Layer, vectors: Queries, limit: int) -> list[list[ScoredItem]]:
        searched.append((layer, len(vectors), limit))
        item = Item("one", "cat", None)
        return [[ScoredItem(item, float(vector[0]))] for vector in vectors]

    ten = SearchQuery("conv2", 10)
    with running(Engine(TorchEager(network, device="cpu"), search)) as engine:
        first = occupy(engine, network)
        alike = submit(engine, [flat(1), flat(2)], soon(), [ten])
        (none,) = submit(engine, [flat(3)], soon())
        (more,) = submit(engine, [flat(4)], soon(), [ten, SearchQuery("logits", 5)])
        network.gate.set()
        found = [one.result(BATCH_TIMEOUT) for one in (first, *alike, none, more)]
    assert sorted(searched) == [("conv2", 3, 10), ("logits", 1, 5)]
    assert [len(one.matches) for one in found] == [0, 1, 1, 0, 2]
    for one in found[1:3]:
        assert one.matches[ten][0].score == one.layers["conv2"][0]


def test_an_abandoned_image_never_runs(network: ScriptedNetwork) -> None:
    async def disconnect(engine: Engine) -> None:
        task = asyncio.create_task(engine.embed([flat(66)], soon()))
        await asyncio.sleep(0)  # lets it queue the image
        assert engine.depth == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        occupy(engine, network)
        asyncio.run(disconnect(engine))
        (last,) = submit(engine, [flat(1)], soon())
        network.gate.set()
        last.result(BATCH_TIMEOUT)
        assert network.seen == [0, 1]


def test_an_expired_image_never_runs(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        occupy(engine, network)
        (late,) = submit(engine, [flat(66)], time.monotonic())
        (last,) = submit(engine, [flat(1)], soon())
        network.gate.set()
        last.result(BATCH_TIMEOUT)
        with pytest.raises(DeadlinePassedError):
            late.result(BATCH_TIMEOUT)
        assert network.seen == [0, 1]


def fail_on_white(images: Tensor) -> BaseException | None:
    return ValueError("white is too much") if bool((images == 255).all((1, 2, 3)).any()) else None


def test_an_image_that_fails_does_not_fail_the_rest_of_its_batch(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        network.failure = fail_on_white
        found = asyncio.run(engine.embed([flat(1), flat(255), flat(2)], soon()))
        assert [type(one) for one in found] == [
            Embeddings,
            InferenceFailedError,
            Embeddings,
        ]
        assert engine.unhealthy_reason is None


def test_an_image_that_expires_while_its_batch_fails_does_not_run_again(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        first = occupy(engine, network)
        deadline = time.monotonic() + 0.2
        (late,) = submit(engine, [flat(1)], deadline)
        others = submit(engine, [flat(255), flat(2)], soon())

        def fail(images: Tensor) -> BaseException | None:
            while len(images) == 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            return fail_on_white(images)

        network.failure = fail
        network.gate.set()
        first.result(BATCH_TIMEOUT)
        with pytest.raises(DeadlinePassedError):
            late.result(BATCH_TIMEOUT)
        with pytest.raises(InferenceFailedError):
            others[0].result(BATCH_TIMEOUT)
        others[1].result(BATCH_TIMEOUT)
    assert network.seen.count(1) == 1


def test_images_are_refused_before_the_network_is_ready(network: ScriptedNetwork) -> None:
    engine = Engine(TorchEager(network, device="cpu"))
    with pytest.raises(UnavailableError, match="being loaded"):
        submit(engine, [flat(1)], soon())


def test_the_next_batch_is_made_before_the_last_one_is_answered(
    network: ScriptedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, int]] = []
    make = Batch.stack

    def stack(batch: Batch) -> Pixels:
        shade = int(batch.items[0].pixels[0, 0, 0])
        if ("made", shade) not in events:
            events.append(("made", shade))
        return make(batch)

    monkeypatch.setattr(Batch, "stack", stack)
    with running(Engine(TorchEager(network, device="cpu"), max_batch_size=1)) as engine:
        first = occupy(engine, network)
        first.add_done_callback(lambda _: events.append(("answered", 0)))
        (second,) = submit(engine, [flat(1)], soon())
        network.gate.set()
        assert isinstance(second.result(BATCH_TIMEOUT), Embeddings)
        assert isinstance(first.result(BATCH_TIMEOUT), Embeddings)
    assert events == [("made", 0), ("made", 1), ("answered", 0)]


def test_the_last_batch_is_answered_though_the_worker_dies_in_the_next(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"), max_batch_size=1)) as engine:
        first = occupy(engine, network)
        (second,) = submit(engine, [flat(1)], soon())
        network.failure = lambda images: SystemExit("shot") if images.max() == 1 else None
        network.gate.set()
        assert isinstance(first.result(BATCH_TIMEOUT), Embeddings)
        with pytest.raises(UnavailableError, match="shot"):
            second.result(BATCH_TIMEOUT)


def test_a_dead_worker_fails_all_images_that_wait_and_is_restarted(
    network: ScriptedNetwork,
) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        futures = [occupy(engine, network), *submit(engine, [flat(1)] * 3, soon())]
        network.failure = lambda _: SystemExit("shot")
        network.gate.set()
        for future in futures:
            with pytest.raises(UnavailableError, match="shot"):
                future.result(BATCH_TIMEOUT)
        assert engine.unhealthy_reason is not None
        with pytest.raises(UnavailableError):
            submit(engine, [flat(1)], soon())
        network.failure = lambda _: None
        wait_until_ready(engine)
        assert len(asyncio.run(engine.embed([flat(1)], soon()))) == 1


def test_a_network_that_fails_on_every_image_is_a_dead_worker(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        network.failure = lambda _: RuntimeError("the device is lost")
        (future,) = submit(engine, [flat(1)], soon())
        with pytest.raises(UnavailableError, match="the device is lost"):
            future.result(BATCH_TIMEOUT)


def test_the_network_uses_the_threads_of_the_setting(network: ScriptedNetwork) -> None:
    before, seen = torch.get_num_threads(), []
    network.failure = lambda _: seen.append(torch.get_num_threads())
    try:
        with running(
            Engine(TorchEager(network, device="cpu", intra_op_threads=before + 1), max_batch_size=1)
        ):
            assert seen == [before + 1]
    finally:
        torch.set_num_threads(before)


def test_a_stuck_worker_refuses_images(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"), batch_timeout=0.05)) as engine:
        occupy(engine, network)
        time.sleep(0.1)
        with pytest.raises(UnavailableError, match="at one batch"):
            submit(engine, [flat(1)], soon())
        network.gate.set()


def test_an_engine_that_cannot_warm_up_does_not_start(network: ScriptedNetwork) -> None:
    network.failure = lambda _: RuntimeError("no such device")
    with pytest.raises(UnavailableError, match="no such device"):
        Engine(TorchEager(network, device="cpu")).start()


def test_stopping_fails_the_images_that_wait(network: ScriptedNetwork) -> None:
    engine = Engine(TorchEager(network, device="cpu"), batch_timeout=1.0)
    with running(engine):
        occupy(engine, network)
        (waiting,) = submit(engine, [flat(1)], soon())
    with pytest.raises(UnavailableError, match="stopping"):
        waiting.result(BATCH_TIMEOUT)


def test_no_images_have_no_embeddings(network: ScriptedNetwork) -> None:
    with running(Engine(TorchEager(network, device="cpu"))) as engine:
        assert asyncio.run(engine.embed([], soon())) == []

"""Image files, a scripted network and running engines, for the tests of the service."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO

import numpy as np
from fastapi import FastAPI
from PIL import Image
from torch import Tensor

from service.engine.backends.torch_eager import TorchEager
from service.engine.engine import Engine
from service.engine.types import Embeddings, Outcomes, Priority, SearchQuery
from service.server.startup import searcher
from service.state import State
from tests.support.images import striped_image
from training.bundle import Layer, Pixels, Vectors
from training.bundle.network import BlockNet
from training.models.architecture import Architecture

BATCH_TIMEOUT = 20.0
"""Seconds after which a test that waits fails."""
SMALL = Architecture(classes=10, conv_blocks=2, batch_norm=False, dropout=0.0)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Encode an image as a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(pixels: Pixels) -> bytes:
    """Encode pixels [H, W, 3] as a PNG."""
    return file_of(Image.fromarray(pixels))


def image_file(seed: int = 0, kind: int = 3) -> bytes:
    """Return an image as a PNG that is in no gallery of the tests."""
    return png(striped_image(kind, 10_000 + seed))


class ScriptedNetwork(BlockNet):
    """A real network that waits at a gate, records its batches, and fails on demand."""

    def __init__(self, architecture: Architecture = SMALL) -> None:
        super().__init__(architecture)
        self.eval()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self.seen: list[int] = []
        self.failure: Callable[[Tensor], BaseException | None] = lambda _: None

    def representations(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Record the first pixel of each image, wait at the gate, and fail if `failure` says so."""
        self.entered.set()
        assert self.gate.wait(BATCH_TIMEOUT)
        self.batches.append(len(images))
        self.seen.extend(images[:, 0, 0, 0].tolist())
        if error := self.failure(images):
            raise error
        return super().representations(images, layers)

    def forget(self) -> None:
        """Forget the batches of the warm-up."""
        self.batches.clear()
        self.seen.clear()
        self.entered.clear()


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """Start an engine, and stop it at the end."""
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def use_network(app: FastAPI, network: ScriptedNetwork, max_queue_size: int = 512) -> State:
    """Replace the network of an app that has not started yet."""
    state: State = app.state.kindred
    state.bundle = replace(state.bundle, known=None)  # the other network does not know its image
    backend = TorchEager(network, device="cpu")
    state.engine = Engine(backend, searcher(state.gallery, backend), max_queue_size=max_queue_size)
    return state


def embeddings(layers: Mapping[Layer, Vectors]) -> Embeddings:
    """Return the embeddings of an image that no engine has embedded, for searches."""
    nothing = np.empty(0)
    return Embeddings(layers, nothing, nothing, novelty=None, queued=0, inference=0)


def submit(
    engine: Engine,
    images: Sequence[Pixels],
    deadline: float,
    searches: Iterable[SearchQuery] = (),
    priority: Priority = Priority.INTERACTIVE,
) -> list[Future[Embeddings]]:
    """Submit images one by one, and return the future of each. Cancel it to abandon the image."""
    return [
        _of_one(engine.submit([image], deadline, searches, priority=priority)) for image in images
    ]


def _of_one(submitted: Future[Outcomes]) -> Future[Embeddings]:
    """Return a future of the only outcome; cancelling it cancels the submission."""
    future: Future[Embeddings] = Future()

    def copy(done: Future[Outcomes]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        outcome = error or done.result()[0]
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def cancel(done: Future[Embeddings]) -> None:
        if done.cancelled():
            submitted.cancel()

    future.add_done_callback(cancel)
    submitted.add_done_callback(copy)
    return future


def flat(shade: int) -> Pixels:
    """Return an image of one shade, [32, 32, 3]."""
    return np.full((32, 32, 3), shade, np.uint8)


def cosine(one: object, other: object) -> float:
    """Return the cosine of two vectors."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

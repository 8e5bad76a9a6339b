"""The inputs and outputs of the engine: groups of images in the queue, searches, embeddings.

Knows arrays and errors; nothing of the network, nor of HTTP.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy.typing as npt

from service.errors import InferenceFailedError, KindredError
from service.gallery.types import ScoredItem
from training.bundle import Layer, Pixels, Vectors


class Priority(IntEnum):
    """The priority of an image in the queue; the lowest number runs first."""

    INTERACTIVE = 0
    """Images of requests whose response needs the embeddings at once."""
    BACKGROUND = 1
    """Images to be added to the gallery or embedded again."""


@dataclass(frozen=True)
class SearchQuery:
    """A search of the gallery for the `limit` nearest images at one layer."""

    layer: Layer
    limit: int


@dataclass(slots=True)
class Embeddings:
    """One image at each served layer, float32 [dimension], and the seconds it took.

    `probabilities` float64 [classes] are those of the logits, and `ranking` [classes] orders the
    classes by them, the most probable first. Both are empty if there are no classes. `novelty` is
    None if the bundle has no statistics of it, or if it was not asked for. `matches` has the
    results of the searches that were submitted with the image. `pixels` are those that the network
    has seen.
    """

    layers: Mapping[Layer, Vectors]
    probabilities: npt.NDArray[Any]
    ranking: npt.NDArray[Any]
    novelty: float | None
    queued: float
    inference: float
    searching: float = 0.0
    matches: Mapping[SearchQuery, Sequence[ScoredItem]] = field(default_factory=dict)
    pixels: Pixels | None = None


Outcome = Embeddings | InferenceFailedError
Outcomes = list[Outcome]


class Entry:
    """The images of one request in the queue; `deadline` is a reading of `time.monotonic()`.

    The engine's threads store an outcome for each image; `deliver` then resolves the future, which
    may belong to an event loop or to no thread.
    """

    __slots__ = (
        *("context", "deadline", "future", "images", "priority", "searches", "submitted"),
        *("with_novelty", "further", "_error", "_missing", "_outcomes", "_taken"),
    )

    def __init__(
        self,
        images: Sequence[Pixels],
        deadline: float,
        future: "asyncio.Future[Outcomes] | Future[Outcomes]",
        searches: Iterable[SearchQuery] = (),
        *,
        priority: Priority = Priority.INTERACTIVE,
        with_novelty: bool = False,
        further: Iterable[Layer] = (),
    ) -> None:
        self.images = images
        self.deadline = deadline
        self.future = future
        self.searches = frozenset(searches)
        self.priority = priority
        self.with_novelty = with_novelty
        self.further = frozenset(further)
        self.submitted = time.monotonic()
        self.context = copy_context()  # so that the log names the request
        self._taken = 0
        self._missing = len(images)
        self._outcomes: list[Outcome | None] = [None] * len(images)
        self._error: KindredError | None = None

    @property
    def waiting(self) -> int:
        """The number of images that no batch has taken yet."""
        return len(self.images) - self._taken

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.deadline

    @property
    def is_live(self) -> bool:
        """Whether a caller still waits for the images."""
        return self._error is None and not self.future.done()

    def take(self, limit: int) -> range:
        """Take up to `limit` of the waiting images; return their numbers."""
        first = self._taken
        self._taken = min(len(self.images), first + limit)
        return range(first, self._taken)

    def set_outcome(self, number: int, outcome: Outcome) -> bool:
        """Store the outcome of an image; return whether it was the last one."""
        if self._outcomes[number] is None:
            self._outcomes[number] = outcome
            self._missing -= 1
        return self._missing == 0

    def fail(self, error: KindredError) -> None:
        """Fail all images, unless they are complete or have failed before."""
        if self._missing:
            self._error = self._error or error

    def resolve(self) -> None:
        """Resolve the future, in the thread that it belongs to."""
        with suppress(InvalidStateError, asyncio.InvalidStateError):  # it was cancelled
            if self._error is not None:
                self.future.set_exception(self._error)
            else:
                self.future.set_result([one for one in self._outcomes if one is not None])


def deliver(entries: Iterable[Entry]) -> None:
    """Resolve the futures of entries that are complete or failed: wake each event loop once."""
    of_loop: dict[asyncio.AbstractEventLoop, list[Entry]] = {}
    for entry in entries:
        if isinstance(entry.future, Future):
            entry.resolve()
        else:
            of_loop.setdefault(entry.future.get_loop(), []).append(entry)
    for loop, own in of_loop.items():
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_resolve_all, own)


def _resolve_all(entries: Sequence[Entry]) -> None:
    for entry in entries:
        entry.resolve()

"""The inputs and outputs of the engine: images in the queue, searches, embeddings.

Knows arrays and errors; nothing of the network, nor of HTTP.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import IntEnum

from service.errors import KindredError
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


@dataclass(frozen=True)
class Embeddings:
    """One image at each of `backends.LAYERS`, float32 [dimension], and the seconds it took.

    `novelty` is None if the bundle has no statistics of it. `matches` has the results of the
    searches that were submitted with the image.
    """

    layers: Mapping[Layer, Vectors]
    novelty: float | None
    queued: float
    inference: float
    searching: float = 0.0
    matches: Mapping[SearchQuery, Sequence[ScoredItem]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Entry:
    """One image in the queue; `deadline` is a reading of `time.monotonic()`."""

    pixels: Pixels
    deadline: float
    searches: frozenset[SearchQuery] = frozenset()
    priority: Priority = Priority.INTERACTIVE
    submitted: float = field(default_factory=time.monotonic)
    context: Context = field(default_factory=copy_context)  # so that the log names the request
    future: "Future[Embeddings]" = field(default_factory=Future)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.deadline

    def set_result(self, embeddings: Embeddings) -> None:
        """Resolve the future, unless it is done."""
        with suppress(InvalidStateError):
            self.future.set_result(embeddings)

    def set_exception(self, error: KindredError) -> None:
        """Fail the future, unless it is done."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

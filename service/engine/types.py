"""One image on its way through the engine: what is asked of it, and what comes of it.

Knows arrays and errors; nothing of who runs the network, nor of HTTP.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from service.errors import KindredError
from service.gallery.types import ScoredItem
from training.bundle import Layer, Pixels, Vectors


@dataclass(frozen=True)
class SearchQuery:
    """What is looked for beside the network: so many of the gallery that are nearest at a layer."""

    layer: Layer
    limit: int


@dataclass(frozen=True)
class Embeddings:
    """One image at each of `backends.LAYERS`, float32 [dimension], and the seconds it took.

    `novelty` is None where the bundle does not say what is familiar; `matches` has what was looked
    for.
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
    submitted: float = field(default_factory=time.monotonic)
    context: Context = field(default_factory=copy_context)  # so that the log names the request
    future: "Future[Embeddings]" = field(default_factory=Future)

    @property
    def is_live(self) -> bool:
        """Whether somebody still waits for it, and not in vain."""
        return not self.future.cancelled() and not self.expired

    @property
    def expired(self) -> bool:
        """Whether its deadline has passed."""
        return time.monotonic() >= self.deadline

    def set_result(self, embeddings: Embeddings) -> None:
        """Answer who waits."""
        with suppress(InvalidStateError):  # buried meanwhile
            self.future.set_result(embeddings)

    def set_exception(self, error: KindredError) -> None:
        """Tell who waits that there will be no answer."""
        with suppress(InvalidStateError):  # whoever waited has gone, or knows already
            self.future.set_exception(error)

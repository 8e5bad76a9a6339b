"""Everything that a request may need, in one place, and how a route gets at it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.concurrency import a_thread_per_core, one_thread_behind, some_writers
from service.engine.activity import Pauses
from service.engine.background import Behind
from service.engine.engine import Engine
from service.gallery.protocol import Gallery
from service.retrieval.responses import Answers
from service.settings import Settings
from service.telemetry.metrics import Metrics
from training.bundle import Bundle


@dataclass
class Life:
    """What outlives a change of the bundle: whether this process is about to stop."""

    draining: bool = False


@dataclass
class State:
    """What is served, and with what; another bundle is another state.

    `users` is the number of requests that are being answered from this one; `unused` is set when
    the last of them ends. `decoding` counts the images that are not yet with the network,
    `answering` those that the network is done with and the gallery is not; `behind` has those that
    are to be added.
    """

    settings: Settings
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    answers: Answers
    metrics: Metrics
    decoders: ThreadPoolExecutor = field(default_factory=lambda: a_thread_per_core("decoding"))
    searchers: ThreadPoolExecutor = field(default_factory=lambda: a_thread_per_core("answering"))
    background: ThreadPoolExecutor = field(default_factory=one_thread_behind)
    writers: ThreadPoolExecutor = field(default_factory=some_writers)
    life: Life = field(default_factory=Life)
    pauses: Pauses = field(default_factory=Pauses)
    # What `replace` is not to copy: another state has users of its own.
    users: int = field(default=0, init=False)
    unused: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    decoding: int = field(default=0, init=False)
    answering: int = field(default=0, init=False)
    behind: Behind = field(init=False)

    def __post_init__(self) -> None:
        self.behind = Behind(self.engine, self.pauses, self.settings.max_queue)

    def check_room(self, count: int = 1) -> None:
        """Refuse at once what would be refused, or late, after the work of reading it.

        Raises:
            UnavailableError: no images are taken now.
            QueueFullError: `count` more images may not wait, be it to be decoded, for the network
                or for the gallery.

        """
        self.engine.check_room(count, taken=self.decoding + self.answering)

    @contextmanager
    def room_to_decode(self, count: int) -> Iterator[None]:
        """Have so many images count while they are decoded, or refuse them as `check_room` does."""
        self.check_room(count)
        self.decoding += count
        try:
            with self.pauses.guest():
                yield
        finally:
            self.decoding -= count

    @property
    def waiting(self) -> int:
        """How many images wait for the network, or for a pause to be added in."""
        return self.engine.waiting(behind=False) + self.behind.count

"""Everything that a request may need, in one place, and how a route gets at it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.concurrency import background_pool, cpu_pool, write_pool
from service.engine.activity import ActivityTracker
from service.engine.background import BackgroundScheduler
from service.engine.engine import Engine
from service.gallery.protocol import Gallery
from service.resources import RefCounted
from service.retrieval.responses import ResponseBuilder
from service.settings import Settings
from service.telemetry.metrics import Metrics
from training.bundle import Bundle


@dataclass
class Lifecycle:
    """What outlives a change of the bundle: whether this process is about to stop."""

    draining: bool = False


@dataclass
class State:
    """What is served, and with what; another bundle is another state.

    `requests` counts the requests that use this state. `decoding` counts the images that are not
    yet with the network, `answering` those that the network is done with and the gallery is not;
    `behind` has those that are to be added.
    """

    settings: Settings
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    responses: ResponseBuilder
    metrics: Metrics
    decoders: ThreadPoolExecutor = field(default_factory=lambda: cpu_pool("decoding"))
    searchers: ThreadPoolExecutor = field(default_factory=lambda: cpu_pool("answering"))
    background: ThreadPoolExecutor = field(default_factory=background_pool)
    writers: ThreadPoolExecutor = field(default_factory=write_pool)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    activity: ActivityTracker = field(default_factory=ActivityTracker)
    # What `replace` is not to copy: another state has users of its own.
    requests: RefCounted[None] = field(default_factory=lambda: RefCounted(None), init=False)
    decoding: int = field(default=0, init=False)
    answering: int = field(default=0, init=False)
    behind: BackgroundScheduler = field(init=False)

    def __post_init__(self) -> None:
        self.behind = BackgroundScheduler(self.engine, self.activity, self.settings.max_queue_size)

    def check_room(self, count: int = 1) -> None:
        """Refuse at once what would be refused, or late, after the work of reading it.

        Raises:
            UnavailableError: no images are taken now.
            QueueFullError: `count` more images may not wait, be it to be decoded, for the network
                or for the gallery.

        """
        self.engine.check_room(count, reserved=self.decoding + self.answering)

    @contextmanager
    def decode_permit(self, count: int) -> Iterator[None]:
        """Have so many images count while they are decoded, or refuse them as `check_room` does."""
        self.check_room(count)
        self.decoding += count
        try:
            with self.activity.track():
                yield
        finally:
            self.decoding -= count

    @property
    def waiting(self) -> int:
        """How many images wait for the network, or for a pause to be added in."""
        return self.engine.waiting(behind=False) + self.behind.count

"""The state that requests share: settings, bundle, engine, gallery, thread pools."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from service.concurrency import Budget, background_pool, cpu_pool
from service.engine.admission import AdmissionController
from service.engine.engine import Engine
from service.gallery.protocol import Gallery
from service.resources import RefCounted
from service.retrieval.plan import Plan
from service.retrieval.responses import ResponseBuilder
from service.settings import Settings
from service.telemetry.metrics import Metrics
from training.bundle import Bundle


@dataclass
class Lifecycle:
    """Whether this process is about to stop; shared by the states of one process."""

    draining: bool = False


@dataclass
class State:
    """One bundle with its gallery and engine; a reload makes another state.

    `requests` counts the requests that use this state.
    """

    settings: Settings
    source: Path
    """The path that the bundle was loaded from, before links are followed."""
    bundle: Bundle
    engine: Engine
    gallery: Gallery
    responses: ResponseBuilder
    metrics: Metrics
    decoders: ThreadPoolExecutor = field(default_factory=lambda: cpu_pool("decoding"))
    searchers: ThreadPoolExecutor = field(default_factory=lambda: cpu_pool("answering"))
    background: ThreadPoolExecutor = field(default_factory=background_pool)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    pixels: Budget = field(init=False)
    """The pixels that may be decoded at the same time: as many as one image may have."""
    # `replace` must not copy these: each state counts its own requests, and has its own plans.
    plans: dict[tuple[str, bytes], Plan] = field(default_factory=dict, init=False)
    """Plans of calls that have been answered, by path and query."""
    requests: RefCounted[None] = field(default_factory=lambda: RefCounted(None), init=False)

    def __post_init__(self) -> None:
        self.pixels = Budget(self.settings.max_pixels)

    def close(self) -> None:
        """Stop the engine and close the gallery."""
        self.engine.stop()
        self.gallery.close()

    @property
    def admission(self) -> AdmissionController:
        """Admission of images to the engine."""
        return self.engine.admission

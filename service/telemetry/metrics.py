"""The Prometheus metrics, in one registry per app. Knows names and numbers only."""

from collections.abc import Mapping
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from service.telemetry.timings import Stage

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "kindred_requests", "Finished requests.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "kindred_request_seconds",
            "Seconds from the arrival of a request to the end of its response.",
            ("route",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.stages = Histogram(
            "kindred_stage_seconds",
            "Seconds that a request spends in each stage.",
            ("stage",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.rejections = Counter(
            "kindred_rejections",
            "Requests that were refused or failed.",
            ("reason",),
            registry=registry,
        )
        self.images = Counter(
            "kindred_images", "Images in finished requests.", ("outcome",), registry=registry
        )
        self.in_flight = Gauge(
            "kindred_requests_in_flight", "Requests in flight.", registry=registry
        )
        self.batch = Histogram(
            "kindred_batch_images",
            "Images per inference batch.",
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self.queue = Gauge("kindred_queue_images", "Images in the queue.", registry=registry)
        self._bundle = Info(
            "kindred_bundle", "Name and version of the bundle that is served.", registry=registry
        )
        self.gallery = Gauge("kindred_gallery_images", "Images in the gallery.", registry=registry)
        self.outdated = Gauge(
            "kindred_gallery_stale_images",
            "Images in the gallery that wait to be embedded again.",
            registry=registry,
        )
        self.changes = Counter(
            "kindred_gallery_changes", "Updates of gallery images.", ("outcome",), registry=registry
        )
        self.reloads = Counter("kindred_reloads", "Successful bundle reloads.", registry=registry)
        # Looking up a label takes longer than counting.
        self._requests_of = cache(self.requests.labels)
        self._seconds_of = cache(self.seconds.labels)
        self._stage_of = cache(self.stages.labels)

    def record_request(
        self, route: str, status: int, seconds: float, rejection: str | None
    ) -> None:
        """Count a request by its route's template; `rejection` is the reason if it failed."""
        self._requests_of(route, status).inc()
        self._seconds_of(route).observe(seconds)
        if rejection is not None:
            self.rejections.labels(rejection).inc()

    def record_stages(self, seconds: Mapping[Stage, float]) -> None:
        """Add the seconds that a request spent in each stage."""
        for stage, stage_seconds in seconds.items():
            self._stage_of(stage).observe(stage_seconds)

    def set_bundle(self, name: str, version: str) -> None:
        """Set the name and version of the bundle that is served."""
        self._bundle.info({"name": name, "version": version})

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics, and the media type, that an `Accept` header asks for."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

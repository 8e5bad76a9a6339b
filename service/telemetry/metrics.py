"""What Prometheus is told, in a registry of this app's own. Knows numbers and names only."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The instruments, each named once."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "kindred_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "kindred_request_seconds",
            "Seconds from arrival to answer.",
            ("route",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.stages = Histogram(
            "kindred_stage_seconds",
            "Seconds of a request by stage.",
            ("stage",),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.rejections = Counter(
            "kindred_rejections", "Requests refused or failed.", ("reason",), registry=registry
        )
        self.images = Counter(
            "kindred_images", "Images asked about.", ("outcome",), registry=registry
        )
        self.in_flight = Gauge(
            "kindred_requests_in_flight", "Requests being answered.", registry=registry
        )
        self.batch = Histogram(
            "kindred_batch_images",
            "Images run at once.",
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self.queue = Gauge("kindred_queue_images", "Images that wait.", registry=registry)
        self._bundle = Info("kindred_bundle", "The bundle served.", registry=registry)
        self.gallery = Gauge("kindred_gallery_images", "Images searched.", registry=registry)
        self.stale = Gauge(
            "kindred_gallery_stale_images",
            "Images that are to be embedded anew.",
            registry=registry,
        )
        self.changes = Counter(
            "kindred_gallery_changes", "Changes of the gallery.", ("outcome",), registry=registry
        )
        self.reloads = Counter("kindred_reloads", "Changes of the bundle.", registry=registry)

    def record_request(
        self, route: str, status: int, seconds: float, rejection: str | None
    ) -> None:
        """Count a request by its route's template; `rejection` names why it was not served."""
        self.requests.labels(route, status).inc()
        self.seconds.labels(route).observe(seconds)
        if rejection is not None:
            self.rejections.labels(rejection).inc()

    def set_bundle(self, name: str, version: str) -> None:
        """Name the bundle that is served from now on."""
        self._bundle.info({"name": name, "version": version})

    def exposition(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)

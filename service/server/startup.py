"""Builds the state of the app from settings: bundle, gallery, engine. Knows nothing of HTTP."""

from dataclasses import replace

from service.engine.backends.base import Backend
from service.engine.backends.factory import open_backend
from service.engine.engine import Engine
from service.engine.search_stage import Searcher
from service.gallery.factory import open_gallery, rebind_gallery
from service.gallery.local.gallery import LocalGallery
from service.gallery.protocol import Gallery
from service.gallery.types import ScoredItem
from service.retrieval.responses import ResponseBuilder
from service.settings import Settings, default_bundle
from service.state import State
from service.telemetry.metrics import Metrics
from service.vectors import Queries, in_memory
from training.bundle import Bundle, Layer, load


def load_state(settings: Settings) -> State:
    """Load the bundle that the settings name, with its gallery and its engine, not yet started.

    Raises:
        BundleError: the bundle does not verify, or does not suit the backend.
        DeviceError: the device does not exist.
        StorageError: the gallery cannot be opened.
        UnavailableError: Milvus does not answer.

    """
    metrics = Metrics()
    bundle = load(settings.bundle or default_bundle())
    gallery = open_gallery(settings.gallery, bundle)
    engine = _engine(settings, metrics, bundle, gallery)
    return State(
        settings, bundle, engine, gallery, ResponseBuilder(bundle.manifest, gallery), metrics
    )


def reload_state(old: State) -> State:
    """Load the bundle again, and build a state that shares the rest with the old one.

    Raises: as `load_state`.
    """
    bundle = load(old.settings.bundle or default_bundle())  # another may have been built
    gallery = rebind_gallery(old.gallery, old.settings.gallery, bundle)
    try:
        engine = _engine(old.settings, old.metrics, bundle, gallery)
    except BaseException:
        gallery.close()  # else it would keep receiving changes
        raise
    return replace(
        old,
        bundle=bundle,
        engine=engine,
        gallery=gallery,
        responses=ResponseBuilder(bundle.manifest, gallery),
    )


def _engine(settings: Settings, metrics: Metrics, bundle: Bundle, gallery: Gallery) -> Engine:
    backend = open_backend(
        bundle,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision,
        intra_op_threads=settings.intra_op_threads,
    )
    return Engine(
        backend,
        searcher(gallery, backend),
        max_batch_size=settings.max_batch_size,
        max_queue_size=settings.max_queue_size,
        batch_timeout=settings.request_timeout,
        on_batch=metrics.batch.observe,
    )


def searcher(gallery: Gallery, backend: Backend) -> Searcher | None:
    """Return the search that the engine runs after a batch; None if the gallery is remote.

    On a GPU it searches there, where the vectors of the batch already are.
    """
    if not isinstance(gallery, LocalGallery):
        return None
    if backend.device != "cpu":
        import torch  # noqa: PLC0415  only a GPU needs it

        from service.gallery.local.gpu_search import GpuSearcher  # noqa: PLC0415

        gpu_searcher = GpuSearcher(gallery.snapshot, torch.device(backend.device))
        gpu_searcher.warm_up()
        return gpu_searcher.search
    for projection in gallery.snapshot().projections.values():
        backend.project(projection, projection.matrix[:1])  # compiled now, not at a request

    def search(layer: Layer, queries: Queries, limit: int) -> list[list[ScoredItem]]:
        return gallery.snapshot().search(layer, in_memory(queries), limit, project=backend.project)

    return search

"""Builds the state of the app from settings: bundle, gallery, engine. Knows nothing of HTTP."""

import logging
import math
from dataclasses import replace

from service.engine.backends.base import Backend
from service.engine.backends.factory import open_backend
from service.engine.engine import LOADING_REASON, Engine
from service.engine.search_stage import Searcher
from service.errors import InferenceFailedError
from service.gallery.factory import open_gallery, rebind_gallery
from service.gallery.local.gallery import LocalGallery
from service.gallery.protocol import Gallery
from service.gallery.types import ScoredItem
from service.retrieval.responses import ResponseBuilder
from service.settings import BUILT, STARTER, Settings, default_bundle
from service.state import State
from service.telemetry.metrics import Metrics
from service.vectors import Queries, in_memory
from training.bundle import Bundle, BundleError, Layer, load

logger = logging.getLogger(__name__)


def load_state(settings: Settings) -> State:
    """Load the bundle that the settings name, with its gallery and its engine, not yet started.

    Raises:
        BundleError: the bundle does not verify, or does not suit the backend.
        DeviceError: the device does not exist.
        StorageError: the gallery cannot be opened.
        UnavailableError: Milvus does not answer.

    """
    metrics = Metrics()
    source = settings.bundle or default_bundle()
    bundle = load(source)
    if settings.bundle is None and source == STARTER:
        logger.warning(
            "Serving the starter bundle, because nothing has been built at %s. The first reload "
            "after a bundle has been built there changes to it; set KINDRED_BUNDLE to stay",
            BUILT,
        )
    gallery = open_gallery(settings.gallery, bundle)
    engine = _engine(settings, metrics, bundle, gallery)
    responses = ResponseBuilder(bundle, gallery)
    return State(settings, source, bundle, engine, gallery, responses, metrics)


def reload_state(old: State) -> State:
    """Load the bundle again and start it, in a state that shares the rest with the old one.

    The place does not change, but for one case: the first bundle that is built replaces the starter
    that is served until then.

    Raises: as `load_state` and `start`.
    """
    waiting = old.settings.bundle is None and old.source == STARTER
    source = default_bundle() if waiting else old.source
    bundle = load(source)
    gallery = rebind_gallery(old.gallery, old.settings.gallery, bundle)
    try:
        engine = _engine(old.settings, old.metrics, bundle, gallery)
    except BaseException:
        gallery.close()  # else it would keep receiving changes
        raise
    new = replace(
        old,
        source=source,
        bundle=bundle,
        engine=engine,
        gallery=gallery,
        responses=ResponseBuilder(bundle, gallery),
    )
    start(new)
    return new


def start(state: State) -> None:
    """Start the engine, unless it runs; check that its network knows the bundle's known image.

    If that fails, the state is closed.

    Raises:
        BundleError: the network is not that of the bundle.
        UnavailableError: the network does not run on this device.

    """
    if state.engine.unhealthy_reason != LOADING_REASON:
        return
    try:
        state.engine.start()
        _check_known_image(state)
    except BaseException:
        state.close()
        raise


def _check_known_image(state: State) -> None:
    known = state.bundle.known
    if known is None:  # an older bundle without pixels
        return
    (found,) = state.engine.submit([known.pixels], math.inf).result()
    if isinstance(found, InferenceFailedError):
        raise found
    if mismatch := known.mismatch(found.layers):
        raise BundleError(
            f"{state.bundle.path} does not fit together: with {state.engine.description}, the "
            f"network does not recognise the bundle's known image ({mismatch})"
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

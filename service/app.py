"""Wires the app together: state, middleware and routes. Has no globals: the app holds its state."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Receive, Scope, Send

from service import images
from service.errors import KindredError
from service.http import parameters, problems
from service.http.auth import Keys
from service.http.gate.gate import Gate, is_traced
from service.http.openapi import API_VERSION, SecuredApp
from service.http.routes import (
    admin,
    classify,
    docs,
    doubtful,
    duplicates,
    embed,
    experiments,
    gallery,
    gallery_updates,
    health,
    maps,
    metrics,
    model,
    oip,
    predict,
    reconstruction,
    similar,
    web,
)
from service.server.memory import trim_heap
from service.server.process import StartError
from service.server.reembed import ReembeddingJob
from service.server.reload import Reloader, StateSlot
from service.server.startup import load_state, reload_state, start
from service.server.watch import watch_bundle
from service.settings import Settings
from service.state import State
from service.telemetry.metrics import Metrics

DESCRIPTION = """Send an image; get its class and the most similar images of the gallery.

Send an image as a raw body (`image/*`), as multipart `file` (one or several), or as JSON with
base64. Every error is `application/problem+json`."""

# In the order of the OpenAPI document; `/gallery/doubtful` must precede `/gallery/{image_id}`.
ROUTES = (
    predict,
    classify,
    similar,
    embed,
    maps,
    reconstruction,
    doubtful,
    duplicates,
    gallery_updates,
    gallery,
    experiments,
    model,
    health,
    metrics,
    web,
    docs,
    admin,
    oip,
)


ACCEPTED_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID"),
    oip.JSON_LENGTH,
)
"""Headers that pages of other origins may send."""
EXPOSED_HEADERS = (
    *("ETag", "Retry-After", "Server-Timing", "X-Request-ID"),
    oip.JSON_LENGTH,
)
"""Headers that pages of other origins may read."""


class KindredApp(SecuredApp):
    """An app behind a gate."""

    gate: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request by the gate; it calls the routes."""
        await self.gate(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Load the bundle and create the app; inference runs during the app's lifespan.

    Raises:
        BundleError: the bundle does not verify.
        DeviceError: the device is not available.
        StartError: the root path is one of the service's own paths.

    """
    state = load_state(settings)
    keys = Keys(
        (key.get_secret_value() for key in settings.api_keys),
        (key.get_secret_value() for key in settings.admin_keys),
        allow_anonymous=settings.allow_anonymous,
    )
    app = KindredApp(
        title="kindred",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # routes/docs.py serves them without a CDN
        redoc_url=None,
        telemetry={"auto_configure": settings.telemetry},
        dependencies=[Depends(parameters.check_query)],
        redirect_slashes=False,  # `problems` redirects below the path of a proxy
    )
    app.state.keys = keys
    _serve(app, state)
    app.gate = Gate(
        partial(SecuredApp.__call__, app),
        settings,
        keys=keys,
        metrics=state.metrics,
        current=partial(_current, app),
        traced=is_traced(app),
        cors_headers=(ACCEPTED_HEADERS, EXPOSED_HEADERS),
    )
    _export_gauges(app, state.metrics)
    problems.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    parameters.install(app)
    _check_root_path(app, settings.root_path)
    return app


def _check_root_path(app: FastAPI, root_path: str) -> None:
    """Refuse a path of the service's own: whether a proxy left it could not be told.

    Raises:
        StartError: the path is one.

    """
    first = root_path[1:].partition("/")[0]
    if first and first in {
        (one.path or "")[1:].partition("/")[0] for one in iter_route_contexts(app.routes)
    }:
        raise StartError(
            f"KINDRED_ROOT_PATH is {root_path}, and the service has paths below /{first} of its "
            "own: choose another."
        )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    current = partial(_current, app)
    images.load_plugins()
    app.state.reloader = Reloader(StateSlot(current, partial(_serve, app)), reload_state)
    await anyio.to_thread.run_sync(start, current())
    trim_heap()
    watching = asyncio.create_task(watch_bundle(current))
    reembedding = ReembeddingJob(current)
    reembedding.start()
    yield
    current().lifecycle.draining = True
    watching.cancel()
    await reembedding.stop()
    await app.state.reloader.close()
    await anyio.to_thread.run_sync(current().close)


def _serve(app: FastAPI, state: State) -> None:
    """Serve all later requests with this state."""
    manifest = state.bundle.manifest
    state.metrics.set_bundle(manifest.name, manifest.version)
    app.state.kindred = state


def _current(app: FastAPI) -> State:
    state: State = app.state.kindred
    return state


def _export_gauges(app: FastAPI, metrics: Metrics) -> None:
    """Export numbers of the current state; they are read when the metrics are collected."""
    metrics.queue.set_function(lambda: _current(app).engine.depth)
    metrics.gallery.set_function(_safe_gauge(lambda: len(_current(app).gallery)))
    metrics.outdated.set_function(_safe_gauge(lambda: _current(app).gallery.outdated_count))


def _safe_gauge(read: Callable[[], int]) -> Callable[[], float]:
    """Return NaN if the gallery is unavailable, so that the other metrics are still exported."""

    def value() -> float:
        try:
            return read()
        except KindredError:
            return math.nan

    return value

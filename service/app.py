"""Wires the app together: state, middleware and routes. Has no globals: the app holds its state."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from service import images
from service.errors import KindredError
from service.http import parameters, problems
from service.http.auth import Keys
from service.http.middleware.access_log import AccessLogMiddleware
from service.http.middleware.admission import AdmissionMiddleware
from service.http.middleware.auth import APIKeyMiddleware
from service.http.middleware.body_limit import BodyLimitMiddleware
from service.http.middleware.deadline import DeadlineMiddleware
from service.http.middleware.head import HeadMiddleware
from service.http.middleware.request_id import RequestIDMiddleware
from service.http.middleware.state import StateMiddleware
from service.http.openapi import API_VERSION, SecuredApp
from service.http.routes import (
    admin,
    classify,
    docs,
    duplicates,
    embed,
    experiments,
    gallery,
    gallery_updates,
    health,
    metrics,
    model,
    oip,
    predict,
    similar,
    web,
)
from service.server import reload
from service.server.reembed import ReembeddingJob
from service.server.reload import Reloader, StateSlot
from service.server.startup import load_state, reload_state
from service.settings import Settings
from service.state import State
from service.telemetry.metrics import Metrics

DESCRIPTION = """Send an image; get its class and the most similar images of the gallery.

Send an image as a raw body (`image/*`), as multipart `file` (one or several), or as JSON with
base64. Every error is `application/problem+json`."""

# In the order of the OpenAPI document; `/gallery/duplicates` must precede `/gallery/{image_id}`.
ROUTES = (
    predict,
    classify,
    similar,
    embed,
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


def create_app(settings: Settings) -> FastAPI:
    """Load the bundle and create the app; inference runs during the app's lifespan.

    Raises:
        BundleError: the bundle does not verify.
        DeviceError: the device is not available.

    """
    state = load_state(settings)
    keys = Keys(
        (key.get_secret_value() for key in settings.api_keys),
        (key.get_secret_value() for key in settings.admin_keys),
        allow_anonymous=settings.allow_anonymous,
    )
    app = SecuredApp(
        title="kindred",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # routes/docs.py serves them without a CDN
        redoc_url=None,
        telemetry={"auto_configure": settings.telemetry},
        dependencies=[Depends(parameters.check_query)],
        middleware=_middleware(settings, keys, state.metrics),
    )
    app.state.keys = keys
    _serve(app, state)
    _export_gauges(app, state.metrics)
    problems.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    parameters.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    current = partial(_current, app)
    images.load_plugins()
    app.state.reloader = Reloader(StateSlot(current, partial(_serve, app)), reload_state)
    await anyio.to_thread.run_sync(current().engine.start)
    reload.trim_heap()
    reembedding = ReembeddingJob(current)
    reembedding.start()
    yield
    current().lifecycle.draining = True
    await reembedding.stop()
    await app.state.reloader.close()
    await anyio.to_thread.run_sync(current().close)


def _middleware(settings: Settings, keys: Keys, metrics: Metrics) -> list[Middleware]:
    """Return the middleware, outermost first."""
    return [
        # First, because refusing an upload to a full queue should cost as little as possible.
        Middleware(AdmissionMiddleware, keys=keys, metrics=metrics),
        # Before routing, because the routes know no HEAD.
        Middleware(HeadMiddleware),
        # Before the log, so that each line has the id of its request.
        Middleware(RequestIDMiddleware),
        # Around every middleware that may refuse, so that refusals are logged and counted too.
        Middleware(AccessLogMiddleware, metrics=metrics),
        # Before authentication, because browsers send preflight requests without a key.
        *_cors(settings),
        # Before the body is read, so that requests without a key cost little.
        Middleware(APIKeyMiddleware, keys=keys),
        # Outside the deadline, so that responses of status 504 are compressed too.
        Middleware(
            GZipMiddleware,
            minimum_size=1024,
            compresslevel=1,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, embed.NPY),
        ),
        # Around the reading of the body, so that a slow upload counts against the deadline.
        Middleware(DeadlineMiddleware, seconds=settings.request_timeout),
        # Within the deadline, because it wraps the reading of the body.
        Middleware(
            BodyLimitMiddleware,
            limit=settings.max_body_bytes,
            max_in_flight=settings.max_in_flight_bytes,
        ),
        # Last, so that a reload waits for no request that was refused.
        Middleware(StateMiddleware),
    ]


def _cors(settings: Settings) -> list[Middleware]:
    """Return the CORS middleware, if any origins are allowed."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                *("Authorization", "Content-Type", "Idempotency-Key"),
                *("X-API-Key", "X-Request-ID"),
                oip.JSON_LENGTH,
            ),
            expose_headers=(
                *("ETag", "Retry-After", "Server-Timing", "X-Request-ID"),
                oip.JSON_LENGTH,
            ),
        )
    ]


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

"""Puts the rooms together: one app that serves one bundle. No globals; the state is the app's."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from service import images
from service.errors import KindredError
from service.http import problems
from service.http.auth import Keys
from service.http.middleware.access_log import AccessLogMiddleware
from service.http.middleware.admission import AdmissionMiddleware
from service.http.middleware.auth import APIKeyMiddleware
from service.http.middleware.body_limit import BodyLimitMiddleware
from service.http.middleware.deadline import DeadlineMiddleware
from service.http.middleware.head import HeadMiddleware
from service.http.middleware.request_id import RequestIDMiddleware
from service.http.middleware.state import StateMiddleware
from service.http.openapi import SecuredApp
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

DESCRIPTION = """Give it an image; get its class, and its kin.

A picture comes as a raw body (`image/*`), as multipart `file` (one or several), or as JSON with
base64. Every error is `application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Load the bundle and make the app; the network runs from the app's start to its end.

    Raises:
        BundleError: the bundle does not verify.
        DeviceError: the device is not there.

    """

    first = load_state(settings)  # not to be named in what outlives it: a reload is to free it

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        images.load_plugins()
        app.state.reloader = Reloader(StateSlot(current, put), reload_state)
        await anyio.to_thread.run_sync(current().engine.start)
        reload.trim_heap()
        reembedding = ReembeddingJob(current)
        reembedding.start()
        yield
        current().lifecycle.draining = True
        await reembedding.stop()
        await app.state.reloader.close()
        await anyio.to_thread.run_sync(current().engine.stop)
        await anyio.to_thread.run_sync(current().gallery.close)

    def current() -> State:
        found: State = app.state.kindred
        return found

    def put(state: State) -> None:
        manifest = state.bundle.manifest
        state.metrics.set_bundle(manifest.name, manifest.version)
        state.metrics.queue.set_function(lambda: state.waiting)
        state.metrics.gallery.set_function(lambda: _safe_gauge(lambda: len(state.gallery)))
        state.metrics.stale.set_function(lambda: _safe_gauge(lambda: state.gallery.outdated_count))
        app.version = manifest.version
        app.openapi_schema = None  # FastAPI keeps the one that it made for the version before
        app.state.kindred = state

    keys = _keys(settings)
    app = SecuredApp(
        title="kindred",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # ours fetches nothing from elsewhere
        redoc_url=None,
        telemetry={"auto_configure": settings.telemetry},
        middleware=[
            Middleware(AdmissionMiddleware, keys=keys, metrics=first.metrics),
            Middleware(HeadMiddleware),
            Middleware(RequestIDMiddleware),
            Middleware(AccessLogMiddleware, metrics=first.metrics),
            *_cors(settings),
            Middleware(APIKeyMiddleware, keys=keys),
            Middleware(
                GZipMiddleware,
                minimum_size=1024,
                compresslevel=1,
                exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, embed.NPY),
            ),
            Middleware(DeadlineMiddleware, seconds=settings.request_timeout),
            Middleware(
                BodyLimitMiddleware,
                limit=settings.max_body_bytes,
                together=settings.max_in_flight_bytes,
            ),
            Middleware(StateMiddleware),
        ],
    )
    app.state.keys = keys
    put(first)
    problems.install(app)
    for room in (
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
    ):
        app.include_router(room.router)
    return app


def _safe_gauge(number: Callable[[], int]) -> float:
    """A number of the gallery; none where it cannot be asked: all others are wanted just then."""
    try:
        return number()
    except KindredError:
        return math.nan


def _keys(settings: Settings) -> Keys:
    return Keys(
        (key.get_secret_value() for key in settings.api_keys),
        (key.get_secret_value() for key in settings.admin_keys),
        allow_anonymous=settings.allow_anonymous,
    )


def _cors(settings: Settings) -> list[Middleware]:
    """Off until origins are listed."""
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

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
from service.http.middleware.access_log import Watch
from service.http.middleware.admission import Admission
from service.http.middleware.auth import Guard
from service.http.middleware.body_limit import BodyLimit
from service.http.middleware.deadline import Deadline
from service.http.middleware.head import Head
from service.http.middleware.request_id import RequestId
from service.http.middleware.state import Tenure
from service.http.openapi import GuardedApp
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
from service.server.reembed import Renewal
from service.server.reload import Place, Reloader
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
        app.state.reloader = Reloader(Place(current, put), reload_state)
        await anyio.to_thread.run_sync(current().engine.start)
        reload.give_back()
        renewal = Renewal(current)
        renewal.start()
        yield
        current().life.draining = True
        await renewal.stop()
        await app.state.reloader.close()
        await anyio.to_thread.run_sync(current().engine.stop)
        await anyio.to_thread.run_sync(current().gallery.close)

    def current() -> State:
        found: State = app.state.kindred
        return found

    def put(state: State) -> None:
        manifest = state.bundle.manifest
        state.metrics.serves(manifest.name, manifest.version)
        state.metrics.queue.set_function(lambda: state.waiting)
        state.metrics.gallery.set_function(lambda: _told(lambda: len(state.gallery)))
        state.metrics.stale.set_function(lambda: _told(lambda: state.gallery.stale))
        app.version = manifest.version
        app.openapi_schema = None  # FastAPI keeps the one that it made for the version before
        app.state.kindred = state

    keys = _keys(settings)
    app = GuardedApp(
        title="kindred",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # ours fetches nothing from elsewhere
        redoc_url=None,
        telemetry={"auto_configure": settings.telemetry},
        middleware=[
            Middleware(Admission, keys=keys, metrics=first.metrics),
            Middleware(Head),
            Middleware(RequestId),
            Middleware(Watch, metrics=first.metrics),
            *_cors(settings),
            Middleware(Guard, keys=keys),
            Middleware(
                GZipMiddleware,
                minimum_size=1024,
                compresslevel=1,
                exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, embed.NPY),
            ),
            Middleware(Deadline, seconds=settings.deadline),
            Middleware(
                BodyLimit, limit=settings.max_body_bytes, together=settings.max_bodies_bytes
            ),
            Middleware(Tenure),
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


def _told(number: Callable[[], int]) -> float:
    """A number of the gallery; none where it cannot be asked: all others are wanted just then."""
    try:
        return number()
    except KindredError:
        return math.nan


def _keys(settings: Settings) -> Keys:
    return Keys(
        (key.get_secret_value() for key in settings.api_keys),
        (key.get_secret_value() for key in settings.admin_keys),
        open_=settings.open,
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

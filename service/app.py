"""Puts the rooms together: one app that serves one bundle. No globals; the state is the app's."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from service import images, memory, problems
from service.admission import Admission
from service.answers import Answers
from service.backends.choice import open_backend
from service.engine import Engine
from service.errors import KindredError
from service.gallery import Gallery
from service.gallery.homes import open_gallery, searcher
from service.keys import Guard, Keys
from service.metrics import Metrics
from service.middleware import BodyLimit, Deadline, Head, RequestId, Watch
from service.openapi import GuardedApp
from service.reload import Place, Reloader
from service.renewal import Renewal
from service.routes import (
    admin,
    changes,
    classify,
    docs,
    duplicates,
    embed,
    experiments,
    gallery,
    health,
    inference,
    metrics,
    model,
    page,
    predict,
    similar,
)
from service.settings import Settings, default_bundle
from service.state import State, Tenure
from training.bundle import Bundle, load

DESCRIPTION = """Give it an image; get its class, and its kin.

A picture comes as a raw body (`image/*`), as multipart `file` (one or several), or as JSON with
base64. Every error is `application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Load the bundle and make the app; the network runs from the app's start to its end.

    Raises:
        BundleError: the bundle does not verify.
        DeviceError: the device is not there.

    """

    first = _load(settings)  # not to be named in what outlives it: a reload is to free it

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        images.load_plugins()
        app.state.reloader = Reloader(Place(current, put), _load_again)
        await anyio.to_thread.run_sync(current().engine.start)
        memory.give_back()
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
        changes,
        gallery,
        experiments,
        model,
        health,
        metrics,
        page,
        docs,
        admin,
        inference,
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
                inference.JSON_LENGTH,
            ),
            expose_headers=(
                *("ETag", "Retry-After", "Server-Timing", "X-Request-ID"),
                inference.JSON_LENGTH,
            ),
        )
    ]


def _load(settings: Settings) -> State:
    metrics = Metrics()
    bundle = _open(settings)
    gallery = open_gallery(settings.gallery, bundle)
    engine = _engine(settings, metrics, bundle, gallery)
    return State(settings, bundle, engine, gallery, Answers(bundle.manifest, gallery), metrics)


def _load_again(old: State) -> State:
    """What stands at the bundle's place now, for the same process."""
    bundle = _open(old.settings)
    gallery = old.gallery.under(bundle)
    try:
        engine = _engine(old.settings, old.metrics, bundle, gallery)
    except BaseException:
        gallery.close()  # or it would hear of changes for ever
        raise
    return replace(
        old,
        bundle=bundle,
        engine=engine,
        gallery=gallery,
        answers=Answers(bundle.manifest, gallery),
    )


def _open(settings: Settings) -> Bundle:
    return load(settings.bundle or default_bundle())  # what was built last may be new


def _engine(settings: Settings, metrics: Metrics, bundle: Bundle, gallery: Gallery) -> Engine:
    backend = open_backend(
        bundle,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
    )
    return Engine(
        backend,
        searcher(gallery, backend.device),
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        patience=settings.deadline,
        on_batch=metrics.batch.observe,
    )

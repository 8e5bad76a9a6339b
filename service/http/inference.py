"""Decodes and embeds the images of a request, and builds the response.

Knows HTTP and the engine; nothing of single routes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from fastapi import Depends, Request, Response

from service import concurrency
from service.engine.admission import Permit
from service.engine.types import Embeddings, Priority, SearchQuery
from service.errors import ClientGoneError, InferenceFailedError, KindredError
from service.http import problems
from service.http.codecs.bodies import request_body
from service.http.codecs.form_fields import FormReader
from service.http.codecs.images import decode_images
from service.http.codecs.uploads import Uploads
from service.http.dependencies import UPLOAD_ERRORS
from service.http.problems import error_responses
from service.schemas.base import Schema
from service.schemas.errors import ItemError, Results
from service.state import State
from service.telemetry.timings import timings_of
from training.bundle import Fit, Pixels

T = TypeVar("T")


def per_image(response: type[Schema], *, body_required: bool = True) -> dict[str, Any]:
    """Return the arguments of a route that calls `respond_per_image`. (Any: FastAPI's types.)"""
    return {
        "response_model": response | Results[response],  # type: ignore[valid-type]
        "responses": error_responses(*UPLOAD_ERRORS),
        "openapi_extra": request_body(required=body_required),
        "dependencies": [Depends(FormReader(Priority.INTERACTIVE))],
    }


async def respond_per_image(
    request: Request,
    state: State,
    uploads: Uploads,
    answer: Callable[[Sequence[Embeddings]], Sequence[Schema]],
    *,
    searches: Collection[SearchQuery] = (),
    with_novelty: bool = False,
    light: bool = False,
) -> Response:
    """Respond to one image, or to several by a list in which each may have its own error.

    Args:
        request: the request.
        state: the state that serves it.
        uploads: its images.
        answer: builds the responses to the images that have been embedded.
        searches: made by the engine, so that `answer` finds their results.
        with_novelty: whether `answer` needs the novelty of the images.
        light: whether `answer` for one image is faster than handing it to a thread.

    Raises:
        KindredError: the request as a whole failed, or its only image.

    """
    batched = searches if state.engine.searches else ()
    light = light and len(batched) == len(searches)
    with state.admission.permit(Priority.INTERACTIVE, len(uploads.images)) as permit:
        pixels = await decode_images(request, state, uploads.files, uploads.fit, permit)
        results = await embed_images(
            request, state, pixels, permit.priority, batched, with_novelty=with_novelty
        )
        if not uploads.several and isinstance(results[0], KindredError):
            raise results[0]

        def work() -> str:
            return _build_response(request.url.path, results, answer, several=uploads.several)

        with timings_of(request.scope).measure("search"):
            body = (
                work()
                if light and not uploads.several
                else await concurrency.run_in_pool(work, state.searchers, permit.retain())
            )
    return Response(body, media_type="application/json")


def _build_response(
    path: str,
    results: Sequence[Embeddings | KindredError],
    answer: Callable[[Sequence[Embeddings]], Sequence[Schema]],
    *,
    several: bool,
) -> str:
    embedded = [image for image in results if isinstance(image, Embeddings)]
    answers = iter(answer(embedded) if embedded else ())
    outcomes = [image if isinstance(image, KindredError) else next(answers) for image in results]
    return to_json(outcomes, path, several=several, exclude_none=True)


def to_json(
    outcomes: Sequence[Schema | KindredError], path: str, *, several: bool, exclude_none: bool
) -> str:
    """Return the responses and errors of the images of a request as JSON."""
    items = (
        ItemError(error=problems.problem(one, path)) if isinstance(one, KindredError) else one
        for one in outcomes
    )
    encoded = [item.model_dump_json(exclude_none=exclude_none) for item in items]
    return f'{{"results":[{",".join(encoded)}]}}' if several else encoded[0]


async def run_in_search_pool(state: State, images: int, work: Callable[[], T]) -> T:
    """Run work on the gallery in the search pool, admitted like `images` interactive images.

    Raises:
        UnavailableError: the engine accepts no images now; not if `images` is 0.
        QueueFullError: too many images are in progress; not if `images` is 0.

    """
    with state.admission.permit(Priority.INTERACTIVE, images) as permit:
        return await concurrency.run_in_pool(work, state.searchers, permit.retain())


async def embed_images(
    request: Request,
    state: State,
    images: Sequence[Pixels | KindredError],
    priority: Priority,
    searches: Collection[SearchQuery] = (),
    *,
    with_novelty: bool = False,
) -> list[Embeddings | KindredError]:
    """Embed the decoded images of a request; each may have its own error.

    If the client disconnects, the images are removed from the queue.

    Raises:
        KindredError: the request as a whole failed.

    """
    pixels = [image for image in images if not isinstance(image, KindredError)]
    deadline: float = request.state.deadline
    found: list[Embeddings | InferenceFailedError] = []
    if pixels:
        embedding = state.engine.embed(
            pixels, deadline, searches, priority=priority, with_novelty=with_novelty
        )
        found = await _cancel_on_disconnect(request, embedding)
    embedded = [image for image in found if isinstance(image, Embeddings)]
    if embedded:
        timings = timings_of(request.scope)
        timings.add("queue", max(image.queued for image in embedded))
        timings.add("inference", max(image.inference for image in embedded))
        if searches:
            timings.add("search", max(image.searching for image in embedded))
    state.metrics.images.labels("answered").inc(len(embedded))
    state.metrics.images.labels("refused").inc(len(images) - len(embedded))
    outcomes = iter(found)
    return [image if isinstance(image, KindredError) else next(outcomes) for image in images]


async def embed_all(
    request: Request,
    state: State,
    files: Sequence[bytes | Pixels | KindredError],
    fit: Fit,
    permit: Permit,
) -> list[Embeddings]:
    """Decode and embed the admitted images of a request.

    Raises:
        KindredError: the request failed, or one of its images.

    """
    pixels = await decode_images(request, state, files, fit, permit)
    embedded: list[Embeddings] = []
    for image in await embed_images(request, state, pixels, permit.priority):
        if isinstance(image, KindredError):
            raise image
        embedded.append(image)
    return embedded


async def _cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; cancel it as soon as the client disconnects.

    Only the watcher is a task: a second task, for the work, would cost as much again.
    """
    working = asyncio.current_task()
    assert working is not None  # noqa: S101  a coroutine runs in a task
    gone = over = False

    def leave(_: "asyncio.Task[None]") -> None:
        nonlocal gone
        if not over:  # the work may have ended before this callback
            gone = True
            working.cancel()

    watching = asyncio.create_task(_wait_for_disconnect(request))
    watching.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and working.uncancel() == 0:  # not cancelled by the deadline too
            raise ClientGoneError("The client disconnected before the response.") from None
        raise
    finally:
        over = True
        watching.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

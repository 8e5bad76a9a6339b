"""Decodes and embeds the images of a request, and builds the response.

Knows HTTP and the engine; nothing of single routes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

import orjson
from fastapi import Depends, Request, Response
from starlette.types import Scope

from service import concurrency
from service.engine.admission import Permit
from service.engine.types import Embeddings, Priority, SearchQuery
from service.errors import InferenceFailedError, KindredError, NoPixelsError
from service.http import problems
from service.http.codecs.bodies import request_body
from service.http.codecs.form_fields import FormReader
from service.http.codecs.images import decode_images
from service.http.codecs.uploads import Uploads, is_raw_image
from service.http.dependencies import UPLOAD_ERRORS
from service.http.gate.exchange import cancelled_if_gone
from service.http.problems import error_responses
from service.retrieval.plan import Plan
from service.retrieval.similarity import SimilarityQuery
from service.schemas.base import Fields, Schema
from service.schemas.errors import Results
from service.state import State
from service.telemetry.timings import timings_of
from training.bundle import Fit, Layer, Pixels

T = TypeVar("T")

MAX_PLANS: Final = 256
"""Queries whose plans are remembered: programs send the same few again and again."""
MAX_QUERY_BYTES: Final = 512


def per_image(response: type[Schema], *, body_required: bool = True) -> dict[str, Any]:
    """Return the arguments of a route that calls `respond_per_image`. (Any: FastAPI's types.)"""
    return {
        "response_model": response | Results[response],  # type: ignore[valid-type]
        "responses": error_responses(*UPLOAD_ERRORS),
        "openapi_extra": request_body(required=body_required),
        "dependencies": [Depends(FormReader(Priority.INTERACTIVE))],
    }


async def respond_per_image(scope: Scope, state: State, uploads: Uploads, plan: Plan) -> Response:
    """Respond to one image, or to several by a list in which each may have its own error.

    Raises:
        KindredError: the request as a whole failed, or its only image.

    """
    batched = plan.searches if state.engine.searches else ()
    light = plan.light and len(batched) == len(plan.searches) and not uploads.several
    with state.admission.permit(Priority.INTERACTIVE, len(uploads.images)) as permit:
        pixels = await decode_images(scope, state, uploads.files, uploads.fit, permit)
        results = await embed_images(
            scope,
            state,
            pixels,
            permit.priority,
            batched,
            with_novelty=plan.with_novelty,
            further=plan.further,
        )
        if not uploads.several and isinstance(results[0], KindredError):
            raise results[0]

        def work() -> bytes:
            return _build_response(scope["path"], results, plan.answer, several=uploads.several)

        with timings_of(scope).measure("search"):
            body = (
                work()
                if light
                else await concurrency.run_in_pool(work, state.searchers, permit.retain())
            )
    return Response(body, media_type="application/json")


async def respond_and_remember(
    request: Request, state: State, uploads: Uploads, plan: Plan
) -> Response:
    """Respond as `respond_per_image` does, and answer later calls of this query by the plan.

    A plan is remembered only if it is light: for others, routing takes a small part of the time.
    The body must be a raw image, as the fields of a form count as the query's.
    """
    response = await respond_per_image(request.scope, state, uploads, plan)
    key = request.scope["path"], request.scope["query_string"]
    is_plain = plan.light and is_raw_image(request.headers.get("Content-Type", ""))
    if is_plain and len(state.plans) < MAX_PLANS and len(key[1]) <= MAX_QUERY_BYTES:
        state.plans[key] = plan
    return response


def _build_response(
    path: str,
    results: Sequence[Embeddings | KindredError],
    answer: Callable[[Sequence[Embeddings]], Sequence[Fields]],
    *,
    several: bool,
) -> bytes:
    embedded = [image for image in results if isinstance(image, Embeddings)]
    answers = iter(answer(embedded) if embedded else ())
    outcomes = [image if isinstance(image, KindredError) else next(answers) for image in results]
    return to_json(outcomes, path, several=several)


def to_json(outcomes: Sequence[Fields | KindredError], path: str, *, several: bool) -> bytes:
    """Return the responses and errors of the images of a request as JSON."""
    items = [
        {"error": problems.problem(one, path).model_dump(exclude_none=True)}
        if isinstance(one, KindredError)
        else one
        for one in outcomes
    ]
    return orjson.dumps({"results": items} if several else items[0])


async def run_in_search_pool(state: State, images: int, work: Callable[[], T]) -> T:
    """Run work on the gallery in the search pool, admitted like `images` interactive images.

    Raises:
        UnavailableError: the engine accepts no images now; not if `images` is 0.
        QueueFullError: too many images are in progress; not if `images` is 0.

    """
    with state.admission.permit(Priority.INTERACTIVE, images) as permit:
        return await concurrency.run_in_pool(work, state.searchers, permit.retain())


async def embed_images(
    scope: Scope,
    state: State,
    images: Sequence[Pixels | KindredError],
    priority: Priority,
    searches: Collection[SearchQuery] = (),
    *,
    with_novelty: bool = False,
    further: Collection[Layer] = (),
) -> list[Embeddings | KindredError]:
    """Embed the decoded images of a request; each may have its own error.

    If the client disconnects before the result, the request is cancelled.

    Raises:
        KindredError: the request as a whole failed.

    """
    pixels = [image for image in images if not isinstance(image, KindredError)]
    deadline: float = scope["state"]["deadline"]
    found: Sequence[Embeddings | InferenceFailedError] = ()
    if pixels:
        with cancelled_if_gone(scope):
            found = await state.engine.embed(
                pixels,
                deadline,
                searches,
                priority=priority,
                with_novelty=with_novelty,
                further=further,
            )
    embedded = [image for image in found if isinstance(image, Embeddings)]
    if embedded:
        timings = timings_of(scope)
        timings.add("queue", max(image.queued for image in embedded))
        timings.add("inference", max(image.inference for image in embedded))
        if searches:
            timings.add("search", max(image.searching for image in embedded))
    state.metrics.images.labels("answered").inc(len(embedded))
    state.metrics.images.labels("refused").inc(len(images) - len(embedded))
    outcomes = iter(found)
    return [image if isinstance(image, KindredError) else next(outcomes) for image in images]


async def embed_all(
    scope: Scope,
    state: State,
    files: Sequence[bytes | Pixels | KindredError],
    fit: Fit,
    permit: Permit,
    further: Collection[Layer] = (),
) -> list[Embeddings]:
    """Decode and embed the admitted images of a request.

    Raises:
        KindredError: the request failed, or one of its images.

    """
    pixels = await decode_images(scope, state, files, fit, permit)
    embedded: list[Embeddings] = []
    for image in await embed_images(scope, state, pixels, permit.priority, further=further):
        if isinstance(image, KindredError):
            raise image
        embedded.append(image)
    return embedded


async def embed_example(scope: Scope, state: State, params: SimilarityQuery) -> Embeddings | None:
    """Embed the one example of a search again, if its matches cannot be explained without.

    Returns None if they can, or if the gallery does not have its pixels.

    Raises:
        KindredError: the example is not there, or cannot be embedded now.

    """
    if not state.responses.similarity.needs_embedding(params):
        return None
    (example,) = params.examples
    try:
        return await embed_stored(scope, state, example, state.bundle.spec.explaining)
    except NoPixelsError:
        return None


async def embed_stored(
    scope: Scope, state: State, image_id: str, further: Collection[Layer] = ()
) -> Embeddings:
    """Embed an image of the gallery again, from its pixels.

    Raises:
        NoPixelsError: the gallery does not have them.
        KindredError: the image is not there, or cannot be embedded now.

    """
    png = await run_in_search_pool(state, 0, lambda: state.gallery.snapshot().image(image_id))
    with state.admission.permit(Priority.INTERACTIVE, 1) as permit:
        pixels = await decode_images(scope, state, [png], "crop", permit)
        (found,) = await embed_images(scope, state, pixels, permit.priority, further=further)
    if isinstance(found, KindredError):
        raise found
    return found

"""What the calls share: their parameters, and the way from posted pictures to answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from fastapi import Request, Response

from service import concurrency
from service.engine.types import Embeddings, SearchQuery
from service.errors import ClientGoneError, KindredError
from service.http import problems
from service.http.codecs.images import Uploads
from service.schemas.base import Schema
from service.schemas.errors import ItemError
from service.state import State
from service.telemetry.timings import timings_of

T = TypeVar("T")


async def respond_per_image(
    request: Request,
    state: State,
    uploads: Uploads,
    answer: Callable[[Sequence[Embeddings]], Sequence[Schema]],
    *,
    searches: Collection[SearchQuery] = (),
    light: bool = False,
) -> Response:
    """Answer one picture, or several by a list in which each may have its own problem.

    Args:
        request: this one.
        serving: what it is answered from.
        posted: its pictures.
        answer: says it of those that the network has represented.
        searches: what is looked for beside the network, so that `answer` finds it there.
        light: whether to answer is quicker than to hand it to a thread, where it is one picture.

    """
    beside = searches if state.engine.searches else ()
    light = light and len(beside) == len(searches)
    with state.activity.track():
        results = await embed_images(request, state, uploads, beside)
        images = [image for image in results if isinstance(image, Embeddings)]

        def work() -> str:
            answers = iter(answer(images) if images else ())
            said = [
                ItemError(error=problems.problem(image, request.url.path))
                if isinstance(image, KindredError)
                else next(answers)
                for image in results
            ]
            written = [one.model_dump_json(exclude_none=True) for one in said]
            return f'{{"results":[{",".join(written)}]}}' if uploads.several else written[0]

        with timings_of(request.scope).measure("search"):
            body = (
                work()
                if light and not uploads.several
                else await run_in_search_pool(state, len(images), work)
            )
    return Response(body, media_type="application/json")


async def run_in_search_pool(state: State, images: int, work: Callable[[], T]) -> T:
    """Do what is to be done with what the network made of so many images; they count meanwhile."""
    state.answering += images

    def end() -> None:
        state.answering -= images

    with state.activity.track():
        return await concurrency.run_in_pool(work, state.searchers, end)


async def embed_images(
    request: Request,
    state: State,
    uploads: Uploads,
    searches: Collection[SearchQuery] = (),
    *,
    behind: bool = False,
) -> list[Embeddings | KindredError]:
    """What the network makes of each picture, or why it makes nothing of it.

    Those that go `behind` let others pass, and look for nothing.

    Raises:
        KindredError: the request as a whole failed, or the one picture of it.

    """
    pixels = [image for image in uploads.pictures if not isinstance(image, KindredError)]
    deadline: float = request.state.deadline
    if behind:
        found = await _cancel_on_disconnect(request, state.behind.embed(pixels, deadline))
    else:
        with state.activity.track():
            found = await _cancel_on_disconnect(
                request, state.engine.embed(pixels, deadline, searches)
            )
    timings = timings_of(request.scope)
    if good := [image for image in found if isinstance(image, Embeddings)]:
        timings.add("queue", max(image.queued for image in good))
        timings.add("inference", max(image.inference for image in good))
        if searches:
            timings.add("search", max(image.searching for image in good))
    state.metrics.images.labels("answered").inc(len(good))
    state.metrics.images.labels("refused").inc(len(uploads.pictures) - len(good))
    outcomes = iter(found)
    results = [
        image if isinstance(image, KindredError) else next(outcomes) for image in uploads.pictures
    ]
    if not uploads.several and isinstance(results[0], KindredError):
        raise results[0]
    return results


async def _cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Await some work, but give it up as soon as the client hangs up.

    Only the watching has a task of its own: one for the work too would cost as much again.
    """
    working = asyncio.current_task()
    assert working is not None  # noqa: S101 - a coroutine is awaited in one
    gone = over = False

    def leave(_: "asyncio.Task[None]") -> None:
        nonlocal gone
        if not over:  # the work may have ended between the hang-up and this call
            gone = True
            working.cancel()

    watching = asyncio.create_task(_wait_for_disconnect(request))
    watching.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and working.uncancel() == 0:  # by nobody else besides, as by the deadline
            raise ClientGoneError("The client hung up before the answer.") from None
        raise
    finally:
        over = True
        watching.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""What the calls share: their parameters, and the way from posted pictures to answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from fastapi import Request, Response

from service import concurrency
from service.engine.types import Representation, Search
from service.errors import ClientGoneError, KindredError
from service.http import problems
from service.http.codecs.images import Pictures
from service.schemas.base import Wire
from service.schemas.errors import Failure
from service.state import State
from service.telemetry.timings import timings_of

T = TypeVar("T")


async def answer_each(
    request: Request,
    serving: State,
    posted: Pictures,
    answer: Callable[[Sequence[Representation]], Sequence[Wire]],
    *,
    searches: Collection[Search] = (),
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
    beside = searches if serving.engine.searches else ()
    light = light and len(beside) == len(searches)
    with serving.pauses.guest():
        represented = await represent_each(request, serving, posted, beside)
        images = [image for image in represented if isinstance(image, Representation)]

        def work() -> str:
            answers = iter(answer(images) if images else ())
            said = [
                Failure(error=problems.problem(image, request.url.path))
                if isinstance(image, KindredError)
                else next(answers)
                for image in represented
            ]
            written = [one.model_dump_json(exclude_none=True) for one in said]
            return f'{{"results":[{",".join(written)}]}}' if posted.several else written[0]

        with timings_of(request.scope).measure("search"):
            body = (
                work()
                if light and not posted.several
                else await off_the_loop(serving, len(images), work)
            )
    return Response(body, media_type="application/json")


async def off_the_loop(serving: State, images: int, work: Callable[[], T]) -> T:
    """Do what is to be done with what the network made of so many images; they count meanwhile."""
    serving.answering += images

    def end() -> None:
        serving.answering -= images

    with serving.pauses.guest():
        return await concurrency.run(work, serving.searchers, end)


async def represent_each(
    request: Request,
    serving: State,
    posted: Pictures,
    searches: Collection[Search] = (),
    *,
    behind: bool = False,
) -> list[Representation | KindredError]:
    """What the network makes of each picture, or why it makes nothing of it.

    Those that go `behind` let others pass, and look for nothing.

    Raises:
        KindredError: the request as a whole failed, or the one picture of it.

    """
    pixels = [image for image in posted.pictures if not isinstance(image, KindredError)]
    deadline: float = request.state.deadline
    if behind:
        found = await _unless_gone(request, serving.behind.represent(pixels, deadline))
    else:
        with serving.pauses.guest():
            found = await _unless_gone(
                request, serving.engine.represent(pixels, deadline, searches)
            )
    timings = timings_of(request.scope)
    if good := [image for image in found if isinstance(image, Representation)]:
        timings.add("queue", max(image.queued for image in good))
        timings.add("inference", max(image.inference for image in good))
        if searches:
            timings.add("search", max(image.searching for image in good))
    serving.metrics.images.labels("answered").inc(len(good))
    serving.metrics.images.labels("refused").inc(len(posted.pictures) - len(good))
    outcomes = iter(found)
    represented = [
        image if isinstance(image, KindredError) else next(outcomes) for image in posted.pictures
    ]
    if not posted.several and isinstance(represented[0], KindredError):
        raise represented[0]
    return represented


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
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

    watching = asyncio.create_task(_hang_up(request))
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


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

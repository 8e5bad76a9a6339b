"""`POST /similar`: what is like this, at one layer."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.images import REQUEST_BODY, Pictures, read_pictures
from service.http.dependencies import (
    POSTING,
    Diversity,
    Exact,
    Explain,
    Filters,
    LayerName,
    Limit,
    Offset,
    Serving,
    Threshold,
)
from service.http.inference import answer_each, off_the_loop
from service.http.problems import documented
from service.retrieval.similarity import Asked
from service.schemas.errors import Results
from service.schemas.images import Similar
from service.telemetry.timings import timings_of
from training.bundle import Fit

router = APIRouter(tags=["images"])

MOST = 100
"""Examples on each side."""


@router.post(
    "/similar",
    response_model=Similar | Results[Similar],
    responses=documented(*POSTING),
    openapi_extra={"requestBody": {**REQUEST_BODY["requestBody"], "required": False}},
)
async def similar(
    request: Request,
    serving: Serving,
    wanted: Filters,
    layer: LayerName = "conv2",
    limit: Limit = 10,
    offset: Offset = 0,
    positive: Annotated[
        list[str],
        Query(
            max_length=MOST,
            description="Ids of images to be like, besides the picture or instead of it.",
        ),
    ] = [],  # noqa: B006  FastAPI copies it
    negative: Annotated[
        list[str], Query(max_length=MOST, description="Ids of images to be unlike.")
    ] = [],  # noqa: B006
    exclude_self: Annotated[
        bool, Query(description="Leave out the picture itself, and the examples.")
    ] = False,
    score_threshold: Threshold = -1.0,
    diversity: Diversity = 0.0,
    exact: Exact = False,
    explain: Explain = False,
    fit: Annotated[
        Fit, Query(description="How a picture that is not square becomes one.")
    ] = "crop",
) -> Response:
    """Give the images of the gallery that are most like a picture, or like some of its own."""
    (searched,) = serving.answers.searchable(layer)
    asked = Asked(
        searched,
        limit,
        offset=offset,
        wanted=wanted,
        exact=exact,
        explained=explain,
        score_threshold=score_threshold,
        diversity=diversity,
        exclude_self=exclude_self,
        positive=tuple(positive),
        negative=tuple(negative),
    )
    kin = serving.answers.kin
    posted: Pictures | None = None
    if not positive or _has_body(request):
        posted = await read_pictures(request, serving, fit)
    if posted is not None:
        return await answer_each(
            request,
            serving,
            posted,
            lambda images: kin.similar(images, asked),
            searches=(asked.plain,) if asked.plain else (),
            light=asked.plain is not None,
        )
    with timings_of(request.scope).measure("search"):
        found = await off_the_loop(serving, 1, lambda: kin.like_examples(asked))
    return Response(found.model_dump_json(exclude_none=True), media_type="application/json")


def _has_body(request: Request) -> bool:
    return (
        request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers
    )

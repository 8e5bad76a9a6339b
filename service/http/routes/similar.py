"""`POST /similar`: the nearest neighbours of images, or of examples, at one layer."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.uploads import FitQuery, Uploads, read_uploads, request_body
from service.http.dependencies import (
    UPLOAD_ERRORS,
    Diversity,
    Exact,
    Explain,
    FilterDep,
    LayerName,
    Limit,
    Offset,
    StateDep,
    Threshold,
)
from service.http.inference import respond_per_image, run_in_search_pool
from service.http.problems import error_responses
from service.retrieval.similarity import SimilarityQuery
from service.schemas.errors import Results
from service.schemas.images import SimilarResponse
from service.telemetry.timings import timings_of

router = APIRouter(tags=["images"])

MAX_IMAGES = 100
"""Maximum number of positive, and of negative, examples."""


@router.post(
    "/similar",
    response_model=SimilarResponse | Results[SimilarResponse],
    responses=error_responses(*UPLOAD_ERRORS),
    openapi_extra=request_body(required=False),
)
async def similar(
    request: Request,
    state: StateDep,
    filter_: FilterDep,
    layer: LayerName = "conv2",
    limit: Limit = 10,
    offset: Offset = 0,
    positive: Annotated[
        list[str],
        Query(
            max_length=MAX_IMAGES,
            description="Ids of positive examples, in addition to the image or instead of it.",
        ),
    ] = [],  # noqa: B006  FastAPI copies it
    negative: Annotated[
        list[str], Query(max_length=MAX_IMAGES, description="Ids of negative examples.")
    ] = [],  # noqa: B006
    exclude_self: Annotated[
        bool, Query(description="Leave out the image itself, and the examples.")
    ] = False,
    score_threshold: Threshold = -1.0,
    diversity: Diversity = 0.0,
    exact: Exact = False,
    explain: Explain = False,
    fit: FitQuery = "crop",
) -> Response:
    """Return the nearest neighbours of an image, or of examples from the gallery."""
    (searched,) = state.responses.indexed_layers(layer)
    params = SimilarityQuery(
        searched,
        limit,
        offset=offset,
        filter_=filter_,
        exact=exact,
        with_attribution=explain,
        score_threshold=score_threshold,
        diversity=diversity,
        exclude_self=exclude_self,
        positive=tuple(positive),
        negative=tuple(negative),
    )
    similarity = state.responses.similarity
    uploads: Uploads | None = None
    if not positive or _has_body(request):
        uploads = await read_uploads(request, state, fit)
    if uploads is not None:
        return await respond_per_image(
            request,
            state,
            uploads,
            lambda images: similarity.similar(images, params),
            searches=(params.batch_query,) if params.batch_query else (),
            light=params.batch_query is not None,
        )
    with timings_of(request.scope).measure("search"):
        found = await run_in_search_pool(state, 1, lambda: similarity.recommend(params))
    return Response(found.model_dump_json(exclude_none=True), media_type="application/json")


def _has_body(request: Request) -> bool:
    return (
        request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers
    )

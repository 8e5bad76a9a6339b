"""`POST /similar`: the nearest neighbours of images, or of examples, at one layer."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.uploads import FitQuery, read_uploads
from service.http.dependencies import LayerName, SimilarityDep, StateDep
from service.http.inference import (
    embed_example,
    per_image,
    respond_and_remember,
    run_in_search_pool,
)
from service.retrieval.plan import Plan
from service.schemas.images import SimilarResponse
from service.telemetry.timings import timings_of

router = APIRouter(tags=["images"])

MAX_IMAGES = 100
"""Maximum number of positive, and of negative, examples."""


@router.post("/similar", **per_image(SimilarResponse, body_required=False))
async def similar(
    request: Request,
    state: StateDep,
    options: SimilarityDep,
    layer: LayerName = None,
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
    fit: FitQuery = "crop",
) -> Response:
    """Return the nearest neighbours of an image, or of examples from the gallery."""
    searched = state.responses.indexed_layer(layer)
    params = options(
        searched, exclude_self=exclude_self, positive=tuple(positive), negative=tuple(negative)
    )
    similarity = state.responses.similarity
    if not positive or _has_body(request):
        uploads = await read_uploads(request, state, fit)
        batched = params.batch_query
        plan = Plan(
            lambda images: similarity.similar(images, params),
            fit=uploads.fit,
            searches=() if batched is None else (batched,),
            further=state.bundle.spec.explaining if params.with_attribution else (),
            light=batched is not None,
        )
        return await respond_and_remember(request, state, uploads, plan)
    image = await embed_example(request.scope, state, params)
    with timings_of(request.scope).measure("search"):
        found = await run_in_search_pool(state, 1, lambda: similarity.recommend(params, image))
    return Response(orjson.dumps(found), media_type="application/json")


def _has_body(request: Request) -> bool:
    return (
        request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers
    )

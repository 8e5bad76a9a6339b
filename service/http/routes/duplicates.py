"""`POST /gallery/duplicates`: pairs of near-duplicate images."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.dependencies import FilterDep, LayerName, StateDep
from service.http.problems import error_responses
from service.http.sliced import respond_in_slices
from service.retrieval import duplicates
from service.schemas.gallery import DuplicatesResponse

router = APIRouter(prefix="/gallery", tags=["gallery"])

MAX_LIMIT = 1000


@router.post(
    "/duplicates", response_model=DuplicatesResponse, responses=error_responses(404, 422, 429, 503)
)
async def find(
    request: Request,
    state: StateDep,
    filter_: FilterDep,
    layer: LayerName = None,
    threshold: Annotated[
        float, Query(ge=-1, le=1, description="Minimum cosine similarity of a pair.")
    ] = 0.98,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of images to examine.")
    ] = 200,
    cursor: Annotated[str, Query(description="`next` of the previous response.")] = "",
) -> Response:
    """Find near-duplicates: examine up to `limit` images after `cursor`, in the order of ids.

    Each image is compared with its 100 nearest neighbours. The response has the 10,000 pairs with
    the highest scores. It may have examined fewer images than `limit`, so that it ends in time:
    `next` continues. The gallery does not change.
    """
    searched = state.responses.indexed_layer(layer)
    search = duplicates.DuplicateSearch(
        state.gallery.snapshot(), searched, threshold, count=limit, after=cursor, filter_=filter_
    )
    return await respond_in_slices(request, state, search, duplicates.SLICE)

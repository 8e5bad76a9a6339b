"""`POST /gallery/duplicates`: pairs of near-duplicate images."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.http.dependencies import FilterDep, LayerName, StateDep
from service.http.inference import run_in_search_pool
from service.http.problems import error_responses
from service.retrieval import duplicates
from service.schemas.gallery import DuplicatesResponse

router = APIRouter(prefix="/gallery", tags=["gallery"])

MAX_LIMIT = 1000


@router.post(
    "/duplicates", response_model=DuplicatesResponse, responses=error_responses(404, 422, 429, 503)
)
async def find(
    state: StateDep,
    filter_: FilterDep,
    layer: LayerName = "conv2",
    threshold: Annotated[
        float, Query(ge=-1, le=1, description="Minimum cosine similarity of a pair.")
    ] = 0.98,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="Number of images to examine.")
    ] = 200,
    cursor: Annotated[str, Query(description="`next` of the previous response.")] = "",
) -> Response:
    """Find near-duplicates: examine `limit` images after `cursor`, in the order of ids.

    Each image is compared with its 100 nearest neighbours. The response has the 10,000 pairs with
    the highest scores. The gallery does not change.
    """
    searched = state.responses.indexed_layer(layer)
    view = state.gallery.snapshot()

    def work() -> str:
        found = duplicates.find(
            view, searched, threshold, count=limit, after=cursor, filter_=filter_
        )
        return found.model_dump_json()

    return Response(await run_in_search_pool(state, 1, work), media_type="application/json")

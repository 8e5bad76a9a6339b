"""`GET /gallery/doubtful`: images whose label is in doubt."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.dependencies import FilterDep, StateDep
from service.http.problems import error_responses
from service.http.sliced import respond_in_slices
from service.retrieval import doubtful
from service.schemas.gallery import DoubtfulResponse

router = APIRouter(prefix="/gallery", tags=["gallery"])

MAX_LIMIT = 10_000


@router.get(
    "/doubtful", response_model=DoubtfulResponse, responses=error_responses(404, 422, 429, 503)
)
async def find(
    request: Request,
    state: StateDep,
    filter_: FilterDep,
    layer: Annotated[
        str, Query(description="Layer of the nearest images; the last one by default.")
    ] = "",
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of images to examine.")
    ] = MAX_LIMIT,
    cursor: Annotated[str, Query(description="`next` of the previous response.")] = "",
) -> Response:
    """Find labels in doubt: examine up to `limit` images after `cursor`, in the order of ids.

    A label is in doubt if both the network and the ten nearest images disagree with it. The most
    doubtful come first. It may have examined fewer images than `limit`, so that it ends in time:
    `next` continues. The gallery does not change.
    """
    state.responses.require_classes()
    view = state.gallery.snapshot()
    searched = state.responses.indexed_layer(layer or view.layers[-1])
    search = doubtful.DoubtSearch(view, searched, count=limit, after=cursor, filter_=filter_)
    return await respond_in_slices(request, state, search, doubtful.SLICE)

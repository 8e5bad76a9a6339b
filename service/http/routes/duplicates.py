"""`POST /gallery/duplicates`: which images are much alike."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.http.dependencies import Filters, LayerName, Serving
from service.http.inference import off_the_loop
from service.http.problems import documented
from service.retrieval import duplicates
from service.schemas.gallery import Duplicates

router = APIRouter(prefix="/gallery", tags=["gallery"])

MOST = 1000


@router.post("/duplicates", response_model=Duplicates, responses=documented(404, 422, 429, 503))
async def find(
    serving: Serving,
    wanted: Filters,
    layer: LayerName = "conv2",
    threshold: Annotated[float, Query(ge=-1, le=1, description="Cosine from which on.")] = 0.98,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many images to look at.")] = 200,
    cursor: Annotated[str, Query(description="`next` of the answer before.")] = "",
) -> Response:
    """Give pairs of images that are much alike: of so many images at a time, in the order of ids.

    With each image its 100 nearest are compared; the 10,000 pairs most alike are given. It changes
    nothing.
    """
    (searched,) = serving.answers.searchable(layer)
    serving.check_room()
    view = serving.gallery.snapshot()

    def work() -> str:
        found = duplicates.find(view, searched, threshold, count=limit, after=cursor, wanted=wanted)
        return found.model_dump_json()

    return Response(await off_the_loop(serving, 1, work), media_type="application/json")

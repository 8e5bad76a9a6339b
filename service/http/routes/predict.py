"""`POST /predict`: the classes and the nearest neighbours of images."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.engine.types import SearchQuery
from service.http.codecs.uploads import UploadsDep
from service.http.dependencies import Explain, Limit, StateDep
from service.http.inference import per_image, respond_and_remember
from service.retrieval.plan import Plan
from service.schemas.images import PredictResponse

router = APIRouter(tags=["images"])


@router.post("/predict", **per_image(PredictResponse))
async def predict(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    limit: Limit = 10,
    layers: Annotated[
        str | None,
        Query(
            description="Layers to search, separated by commas. Default: those that all bundles of "
            "this network have."
        ),
    ] = None,
    explain: Explain = False,
) -> Response:
    """Classify images, and return the nearest neighbours of each at each layer."""
    responses = state.responses
    searched = responses.indexed_layers(layers)
    plan = Plan(
        lambda images: responses.predict(images, searched, limit, with_attribution=explain),
        fit=uploads.fit,
        searches=() if explain else tuple(SearchQuery(layer, limit) for layer in searched),
        with_novelty=True,
        further=state.bundle.spec.explaining if explain else (),
        light=not explain,
    )
    return await respond_and_remember(request, state, uploads, plan)

"""`POST /predict`: what is this, and what is like it, in one go."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.engine.types import Search
from service.http.codecs.images import REQUEST_BODY, Posted
from service.http.dependencies import POSTING, Explain, Limit, Serving
from service.http.inference import answer_each
from service.http.problems import documented
from service.schemas.errors import Results
from service.schemas.images import Predicted

router = APIRouter(tags=["images"])


@router.post(
    "/predict",
    response_model=Predicted | Results[Predicted],
    responses=documented(*POSTING),
    openapi_extra=REQUEST_BODY,
)
async def predict(
    request: Request,
    serving: Serving,
    posted: Posted,
    limit: Limit = 10,
    layers: Annotated[
        str, Query(description="Layers to search, with commas between.")
    ] = "conv2,logits",
    explain: Explain = False,
) -> Response:
    """Give the class probabilities of a picture, and the similar images at each layer."""
    searched = serving.answers.searchable(layers)
    return await answer_each(
        request,
        serving,
        posted,
        lambda images: serving.answers.predict(images, searched, limit, explained=explain),
        searches=[] if explain else [Search(layer, limit) for layer in searched],
        light=not explain,
    )

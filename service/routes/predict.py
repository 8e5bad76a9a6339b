"""`POST /predict`: what is this, and what is like it, in one go."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.entry import Search
from service.intake import REQUEST_BODY, Posted
from service.problems import documented
from service.routes.common import POSTING, Explain, Limit, answer_each
from service.state import Serving
from service.wire import Predicted, Results

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

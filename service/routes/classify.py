"""`POST /classify`: what is this."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.intake import REQUEST_BODY, Posted
from service.problems import documented
from service.routes.common import POSTING, answer_each
from service.state import Serving
from service.wire import Classification, Results

router = APIRouter(tags=["images"])


@router.post(
    "/classify",
    response_model=Classification | Results[Classification],
    responses=documented(*POSTING),
    openapi_extra=REQUEST_BODY,
)
async def classify(
    request: Request,
    serving: Serving,
    posted: Posted,
    top_k: Annotated[
        int, Query(ge=1, le=1000, description="How many classes; all where there are fewer.")
    ] = 3,
) -> Response:
    """Give the most probable classes of a picture."""
    return await answer_each(
        request, serving, posted, lambda images: serving.answers.classify(images, top_k), light=True
    )

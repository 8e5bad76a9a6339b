"""`POST /classify`: what is this."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.images import REQUEST_BODY, Posted
from service.http.dependencies import POSTING, Serving
from service.http.inference import answer_each
from service.http.problems import documented
from service.schemas.errors import Results
from service.schemas.images import Classification

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

"""`POST /classify`: the most probable classes of images."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.uploads import UploadsDep, request_body
from service.http.dependencies import UPLOAD_ERRORS, StateDep
from service.http.inference import respond_per_image
from service.http.problems import error_responses
from service.schemas.errors import Results
from service.schemas.images import ClassifyResponse

router = APIRouter(tags=["images"])


@router.post(
    "/classify",
    response_model=ClassifyResponse | Results[ClassifyResponse],
    responses=error_responses(*UPLOAD_ERRORS),
    openapi_extra=request_body(),
)
async def classify(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    top_k: Annotated[
        int, Query(ge=1, le=1000, description="Maximum number of classes, most probable first.")
    ] = 3,
) -> Response:
    """Classify images: return the most probable classes of each."""
    return await respond_per_image(
        request, state, uploads, lambda images: state.responses.classify(images, top_k), light=True
    )

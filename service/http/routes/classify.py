"""`POST /classify`: the most probable classes of images."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.http.codecs.uploads import UploadsDep
from service.http.dependencies import StateDep
from service.http.inference import per_image, respond_and_remember
from service.retrieval.plan import Plan
from service.schemas.images import ClassifyResponse

router = APIRouter(tags=["images"])


@router.post("/classify", **per_image(ClassifyResponse))
async def classify(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    top_k: Annotated[
        int, Query(ge=1, le=1000, description="Maximum number of classes, most probable first.")
    ] = 3,
) -> Response:
    """Classify images: return the most probable classes of each, if the bundle has classes."""
    responses = state.responses
    responses.require_classes()
    plan = Plan(
        lambda images: responses.classify(images, top_k),
        fit=uploads.fit,
        with_novelty=True,
        light=True,
    )
    return await respond_and_remember(request, state, uploads, plan)

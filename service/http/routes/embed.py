"""`POST /embed`: the picture as the network represents it, for people with indexes of their own."""

from io import BytesIO
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response

from service.errors import KindredError
from service.http.codecs.images import REQUEST_BODY, UploadsDep
from service.http.dependencies import UPLOAD_ERRORS, StateDep
from service.http.inference import embed_images, respond_per_image
from service.http.problems import error_responses
from service.schemas.errors import Results
from service.schemas.images import EmbedResponse

router = APIRouter(tags=["images"])

NPY = "application/x-npy"


@router.post(
    "/embed",
    response_model=EmbedResponse | Results[EmbedResponse],
    responses=error_responses(*UPLOAD_ERRORS)
    | {
        200: {
            "description": f"The vector; with `Accept: {NPY}` as a NumPy file, float32 "
            "[dimension], or [N, dimension] of several pictures, which then must all be good.",
            "content": {NPY: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    openapi_extra=REQUEST_BODY,
)
async def embed(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    layer: Annotated[str, Query(description="A layer of the network; see /model.")] = "conv2",
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Give the vector of a picture at one layer."""
    wanted = state.responses.embedding_layer(layer)
    if NPY not in accept:
        return await respond_per_image(
            request, state, uploads, lambda images: state.responses.embed(images, wanted)
        )
    vectors = []
    for image in await embed_images(request, state, uploads):
        if isinstance(image, KindredError):
            raise image
        vectors.append(image.layers[wanted])
    file = BytesIO()
    np.save(file, np.stack(vectors) if uploads.several else vectors[0], allow_pickle=False)
    return Response(file.getvalue(), media_type=NPY)

"""`POST /embed`: the picture as the network represents it, for people with indexes of their own."""

from io import BytesIO
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response

from service.errors import KindredError
from service.http.codecs.images import REQUEST_BODY, Posted
from service.http.dependencies import POSTING, Serving
from service.http.inference import answer_each, represent_each
from service.http.problems import documented
from service.schemas.errors import Results
from service.schemas.images import Embedding

router = APIRouter(tags=["images"])

NPY = "application/x-npy"


@router.post(
    "/embed",
    response_model=Embedding | Results[Embedding],
    responses=documented(*POSTING)
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
    serving: Serving,
    posted: Posted,
    layer: Annotated[str, Query(description="A layer of the network; see /model.")] = "conv2",
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Give the vector of a picture at one layer."""
    wanted = serving.answers.embeddable(layer)
    if NPY not in accept:
        return await answer_each(
            request, serving, posted, lambda images: serving.answers.embed(images, wanted)
        )
    vectors = []
    for image in await represent_each(request, serving, posted):
        if isinstance(image, KindredError):
            raise image
        vectors.append(image.layers[wanted])
    file = BytesIO()
    np.save(file, np.stack(vectors) if posted.several else vectors[0], allow_pickle=False)
    return Response(file.getvalue(), media_type=NPY)

"""`POST /embed`: the vectors of images, for use in other vector indexes."""

from io import BytesIO
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response

from service.engine.types import Priority
from service.http.codecs.uploads import UploadsDep
from service.http.dependencies import StateDep
from service.http.inference import embed_all, per_image, respond_per_image
from service.retrieval.plan import Plan
from service.schemas.images import EmbedResponse

router = APIRouter(tags=["images"])

NPY = "application/x-npy"


_ROUTE = per_image(EmbedResponse)
_ROUTE["responses"][200] = {
    "description": f"The vector. With `Accept: {NPY}`, a NumPy file: float32 [dimension], or "
    "[N, dimension] for several images; then one bad image fails the request.",
    "content": {NPY: {"schema": {"type": "string", "format": "binary"}}},
}


@router.post("/embed", **_ROUTE)
async def embed(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    layer: Annotated[
        str | None,
        Query(
            description="A layer of the network; /model lists them. Default: the first searched."
        ),
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Embed images: return the vector of each at one layer."""
    known_layer = state.responses.embedding_layer(layer)
    if NPY not in accept:
        plan = Plan(lambda images: state.responses.embed(images, known_layer))
        return await respond_per_image(request.scope, state, uploads, plan)
    with state.admission.permit(Priority.INTERACTIVE, len(uploads.images)) as permit:
        embedded = await embed_all(request.scope, state, uploads.files, uploads.fit, permit)
        vectors = [image.layers[known_layer] for image in embedded]
        file = BytesIO()
        np.save(file, np.stack(vectors) if uploads.several else vectors[0], allow_pickle=False)
    return Response(file.getvalue(), media_type=NPY)

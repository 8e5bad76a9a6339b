"""`POST /reconstruct`, `GET /gallery/{id}/reconstruction`: pictures drawn from vectors."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from service.engine.types import Priority
from service.errors import NoPixelsError
from service.http.caching import respond_unless_current
from service.http.codecs.bodies import binary_response, single_image_body
from service.http.codecs.form_fields import FormReader
from service.http.codecs.uploads import UploadsDep
from service.http.dependencies import UPLOAD_ERRORS, Expires, Signature, StateDep
from service.http.inference import embed_all, embed_stored, run_in_search_pool
from service.http.problems import error_responses

router = APIRouter()

PNG = "image/png"
DecodedLayer = Annotated[
    str | None,
    Query(description="A layer with a decoder; /model lists them. Default: that of /similar."),
]
_PICTURE = {"description": "The picture.", "content": binary_response(PNG)}


@router.post(
    "/reconstruct",
    response_class=Response,
    tags=["images"],
    responses=error_responses(*UPLOAD_ERRORS) | {200: _PICTURE},
    openapi_extra=single_image_body(),
    dependencies=[Depends(FormReader(Priority.INTERACTIVE))],
)
async def reconstruct(
    request: Request, state: StateDep, uploads: UploadsDep, layer: DecodedLayer = None
) -> Response:
    """Draw what a layer keeps of an image: a small PNG, drawn from the vector alone."""
    reconstruction = state.responses.reconstruction
    known = reconstruction.layer(layer)
    if uploads.several:
        raise RequestValidationError(
            [
                {
                    "type": "body",
                    "loc": ("body",),
                    "msg": "Send one image: the answer is one picture.",
                }
            ]
        )
    further = state.bundle.spec.not_served([known])
    with state.admission.permit(Priority.INTERACTIVE, 1) as permit:
        (image,) = await embed_all(
            request.scope, state, uploads.files, uploads.fit, permit, further
        )
    vector = image.layers[known]
    content = await run_in_search_pool(state, 0, lambda: reconstruction.draw(known, vector))
    return Response(content, media_type=PNG)


@router.get(
    "/gallery/{image_id}/reconstruction",
    response_class=Response,
    tags=["gallery"],
    responses=error_responses(404, 422, 429, 503)
    | {200: _PICTURE, 304: {"description": "The copy of the client is current."}},
)
async def of_item(
    request: Request,
    state: StateDep,
    image_id: str,
    layer: DecodedLayer = None,
    expires: Expires = None,
    signature: Signature = None,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Draw what a layer keeps of an image of the gallery.

    The vector is that of the gallery. At a layer without an index it is computed again, if the
    gallery has the pixels of the image.
    """
    reconstruction = state.responses.reconstruction
    known = reconstruction.layer(layer)
    vector = await run_in_search_pool(state, 0, lambda: reconstruction.vector(known, image_id))
    if vector is None:
        further = state.bundle.spec.not_served([known])
        try:
            image = await embed_stored(request.scope, state, image_id, further)
        except NoPixelsError as error:
            raise reconstruction.not_kept(known, image_id) from error
        vector = image.layers[known]
    drawn = vector
    content = await run_in_search_pool(state, 0, lambda: reconstruction.draw(known, drawn))
    return respond_unless_current(state, content, PNG, if_none_match)

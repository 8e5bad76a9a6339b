"""`GET /gallery…`: the images of the gallery, and the neighbours of each."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from service.http.caching import respond_unless_current
from service.http.codecs.bodies import binary_response
from service.http.dependencies import (
    Expires,
    FilterDep,
    LayerName,
    Limit,
    Signature,
    SimilarityDep,
    StateDep,
)
from service.http.inference import embed_example, run_in_search_pool
from service.http.problems import error_responses
from service.retrieval.convert import gallery_item
from service.schemas.base import Fields
from service.schemas.gallery import GalleryItem, GalleryPage
from service.schemas.images import SimilarResponse
from service.state import State
from service.telemetry.timings import timings_of

router = APIRouter(prefix="/gallery", tags=["gallery"])


_FIRST_EXAMPLE = {"image_id": "$response.body#/items/0/id"}
LINKS: dict[str, Any] = {  # Any: FastAPI's own type
    name: {
        "operationRef": f"#/paths/~1gallery~1{{image_id}}{rest}/get",
        "parameters": _FIRST_EXAMPLE,
    }
    for name, rest in (("item", ""), ("image", "~1image"), ("similar", "~1similar"))
}


@router.get("", responses=error_responses(404, 422) | {200: {"links": LINKS}})
async def browse(
    state: StateDep,
    filter_: FilterDep,
    limit: Limit = 50,
    cursor: Annotated[str, Query(description="`next` of the previous page.")] = "",
) -> GalleryPage:
    """List the images of the gallery by page, in the order of ids.

    `attribute.NAME=value` lists only images with that attribute.
    """
    page = await run_in_search_pool(
        state, 0, lambda: state.gallery.snapshot().page(limit, after=cursor, filter_=filter_)
    )
    return GalleryPage(items=tuple(map(gallery_item, page.items)), next=page.next)


@router.get("/{image_id}", responses=error_responses(404, 422))
def one(state: StateDep, image_id: str) -> GalleryItem:
    """Return the metadata of one image: label, attributes and the path of its pixels."""
    return gallery_item(state.gallery.snapshot().get(image_id))


@router.get(
    "/{image_id}/image",
    response_class=Response,
    responses=error_responses(404, 422)
    | {
        200: {"description": "The image.", "content": binary_response("image/jpeg", "image/png")},
        304: {"description": "The copy of the client is current."},
    },
)
async def image(
    state: StateDep,
    image_id: str,
    size: Annotated[
        Literal["thumbnail", "network"],
        Query(description="`network`: the pixels that the network sees, as a PNG."),
    ] = "thumbnail",
    expires: Expires = None,
    signature: Signature = None,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Return the image: its thumbnail as a JPEG, or what the network sees as a PNG.

    The image is cropped to its centre square. Only images that came with the bundle, and were
    larger than the network's input, have a thumbnail. 404 if the bundle has no pixels.
    """
    content, media_type = await run_in_search_pool(state, 0, lambda: _read(state, image_id, size))
    return respond_unless_current(state, content, media_type, if_none_match)


def _read(state: State, image_id: str, size: str) -> tuple[bytes, str]:
    """Return the file of an image, with its media type."""
    view = state.gallery.snapshot()
    if size == "thumbnail" and (thumbnail := view.thumbnail(image_id)) is not None:
        return thumbnail, "image/jpeg"
    return view.image(image_id), "image/png"


@router.get(
    "/{image_id}/similar",
    response_model=SimilarResponse,
    response_model_exclude_none=True,
    responses=error_responses(404, 422, 429, 503),
)
async def similar(
    request: Request,
    state: StateDep,
    image_id: str,
    options: SimilarityDep,
    layer: LayerName = None,
    exclude_self: Annotated[bool, Query(description="Leave out this image.")] = True,
) -> Fields:
    """Return the nearest neighbours of one image at one layer."""
    searched = state.responses.indexed_layer(layer)
    params = options(searched, exclude_self=exclude_self, positive=(image_id,))
    image = await embed_example(request.scope, state, params)
    with timings_of(request.scope).measure("search"):
        return await run_in_search_pool(
            state, 1, lambda: state.responses.similarity.recommend(params, image)
        )

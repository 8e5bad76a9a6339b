"""`GET /gallery…`: the images that are searched."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from service.http.dependencies import (
    Diversity,
    Exact,
    Explain,
    Filters,
    LayerName,
    Limit,
    Offset,
    Serving,
    Threshold,
)
from service.http.inference import off_the_loop
from service.http.problems import documented
from service.retrieval.convert import gallery_item
from service.retrieval.similarity import Asked
from service.schemas.gallery import GalleryItem, GalleryPage
from service.schemas.images import Similar
from service.telemetry.timings import timings_of

router = APIRouter(prefix="/gallery", tags=["gallery"])


_OF_THE_FIRST = {"image_id": "$response.body#/items/0/id"}
LINKS: dict[str, Any] = {  # Any: FastAPI's own type
    name: {
        "operationRef": f"#/paths/~1gallery~1{{image_id}}{rest}/get",
        "parameters": _OF_THE_FIRST,
    }
    for name, rest in (("item", ""), ("image", "~1image"), ("similar", "~1similar"))
}


@router.get("", responses=documented(404, 422) | {200: {"links": LINKS}})
async def browse(
    serving: Serving,
    wanted: Filters,
    limit: Limit = 50,
    cursor: Annotated[str, Query(description="`next` of the page before.")] = "",
) -> GalleryPage:
    """List the gallery, a page at a time, in the order of ids.

    `attribute.NAME=value` lists only images with that attribute.
    """
    page = await off_the_loop(
        serving, 0, lambda: serving.gallery.page(limit, after=cursor, wanted=wanted)
    )
    return GalleryPage(items=tuple(map(gallery_item, page.items)), next=page.next)


@router.get("/{image_id}", responses=documented(404, 422))
def one(serving: Serving, image_id: str) -> GalleryItem:
    """Give one image's label and where its pixels are."""
    return gallery_item(serving.gallery.get(image_id))


@router.get(
    "/{image_id}/image",
    response_class=Response,
    responses=documented(404, 422)
    | {
        200: {"description": "The picture.", "content": {"image/png": {}}},
        304: {"description": "The client has it already."},
    },
)
async def image(
    serving: Serving,
    image_id: str,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Give the picture itself, 32 x 32, as a PNG; 404 where the bundle has no pixels."""
    view = serving.gallery
    content = await off_the_loop(serving, 0, lambda: view.image(image_id))
    # What takes a key to see must not be left with a proxy that asks for none.
    cache = "private" if serving.settings.api_keys else "public"
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"{cache}, no-cache"}  # PUT may replace any image
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if known & {etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


@router.get(
    "/{image_id}/similar",
    response_model_exclude_none=True,
    responses=documented(404, 422, 429, 503),
)
async def similar(
    request: Request,
    serving: Serving,
    image_id: str,
    wanted: Filters,
    layer: LayerName = "conv2",
    limit: Limit = 10,
    offset: Offset = 0,
    exclude_self: Annotated[bool, Query(description="Leave out the image itself.")] = True,
    score_threshold: Threshold = -1.0,
    diversity: Diversity = 0.0,
    exact: Exact = False,
    explain: Explain = False,
) -> Similar:
    """Give the images that are most like this one, itself left out."""
    (searched,) = serving.answers.searchable(layer)
    serving.check_room()
    asked = Asked(
        searched,
        limit,
        offset=offset,
        wanted=wanted,
        exact=exact,
        explained=explain,
        score_threshold=score_threshold,
        diversity=diversity,
        exclude_self=exclude_self,
        positive=(image_id,),
    )
    with timings_of(request.scope).measure("search"):
        return await off_the_loop(serving, 1, lambda: serving.answers.kin.like_examples(asked))

"""`GET /map` and `POST /map`: the map of the gallery, and the place of an image on it."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from service.http.caching import caching_headers, is_current
from service.http.codecs.uploads import UploadsDep
from service.http.dependencies import Limit, StateDep
from service.http.inference import per_image, respond_per_image, run_in_search_pool
from service.http.problems import error_responses
from service.retrieval.plan import Plan
from service.schemas.maps import MapResponse, PlacesResponse

router = APIRouter(prefix="/map", tags=["images"])


@router.get(
    "",
    response_model=MapResponse,
    responses=error_responses(404, 422)
    | {304: {"description": "The copy of the client is current."}},
)
async def read_map(
    state: StateDep,
    layer: Annotated[
        str | None, Query(description="A layer with a map; /model lists them.")
    ] = None,
    ids: Annotated[
        bool, Query(description="Whether to return ids and labels, which are those of all layers.")
    ] = True,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Return the place of each image of the gallery at one layer, as numbers from 0 to 1.

    Images that are alike at the layer are near each other. Each layer's map begins from that of the
    layer before.
    """
    gallery_map = state.responses.map
    known = gallery_map.layer(layer)
    points = await run_in_search_pool(state, 0, gallery_map.points)
    etag = f'"{points.revision}-{known}-{int(ids)}"'
    headers = caching_headers(state, etag)
    if is_current(etag, if_none_match):
        return Response(status_code=304, headers=headers)

    def work() -> bytes:
        fields = gallery_map.describe(points, known, with_ids=ids)
        return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)

    body = await run_in_search_pool(state, 0, work)
    return Response(body, media_type="application/json", headers=headers)


@router.post("", **per_image(PlacesResponse))
async def place(
    request: Request,
    state: StateDep,
    uploads: UploadsDep,
    layers: Annotated[
        str | None,
        Query(description="Layers with a map, separated by commas. Default: all of them."),
    ] = None,
    limit: Limit = 10,
) -> Response:
    """Return the place of an image at each layer: the mean of those of its nearest images.

    They are weighted by the inverse of one minus their cosine, and are returned with their places.
    """
    gallery_map = state.responses.map
    known = gallery_map.layers(layers)
    plan = Plan(
        lambda images: gallery_map.place(images, known, limit),
        fit=uploads.fit,
        further=state.bundle.spec.not_served(known),
    )
    return await respond_per_image(request.scope, state, uploads, plan)

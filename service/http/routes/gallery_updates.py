"""`POST /gallery`, and `PUT`, `PATCH` and `DELETE /gallery/{id}`: updates of the gallery.

Each response is sent after its update is durable and visible to all later requests.
"""

import asyncio
import dataclasses
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response

from service import concurrency
from service.engine.types import Embeddings, Priority
from service.errors import ConflictError, KindredError
from service.gallery.types import Added, Addition, Item
from service.http.auth import RequireAdmin
from service.http.codecs import bodies, json_body
from service.http.codecs.form_fields import FormReader
from service.http.codecs.images import decode_images
from service.http.codecs.ingest import LabelledUploadsDep, ReplacementDep, addition
from service.http.codecs.uploads import Uploads
from service.http.dependencies import UPLOAD_ERRORS, StateDep
from service.http.inference import embed_images, to_json
from service.http.problems import error_responses
from service.retrieval.convert import gallery_item
from service.retrieval.links import links
from service.schemas.errors import Results
from service.schemas.gallery import (
    MAX_ATTRIBUTES,
    MAX_JSON_COMMAS,
    GalleryEdit,
    GalleryItem,
    UpsertResult,
)
from service.state import State
from training.bundle import Pixels

router = APIRouter(prefix="/gallery", tags=["gallery"])

_READ_FORM = [Depends(FormReader(Priority.BACKGROUND))]
_LOCATION = {
    "Location": {"description": "The path of the one new image.", "schema": {"type": "string"}}
}


@router.post(
    "",
    status_code=201,
    response_model=UpsertResult | Results[UpsertResult],
    responses=error_responses(*UPLOAD_ERRORS, ConflictError, 507)
    | {
        200: {
            "description": "Nothing was created; several images have their own results.",
            "model": UpsertResult | Results[UpsertResult],
        },
        201: {"headers": _LOCATION},
    },
    openapi_extra=bodies.addition_body(),
    dependencies=_READ_FORM,
)
async def add(
    request: Request, state: StateDep, _: RequireAdmin, uploads: LabelledUploadsDep
) -> Response:
    """Add one or several images to the gallery.

    Send attributes in the query as `attribute.NAME=text`, or in JSON for each image. The same image
    with the same id, or with the same `Idempotency-Key`, is added once. Another image with the same
    id is 409; among several images, it has that error alone.
    """
    return await _add(request, state, uploads, replace=False)


@router.put(
    "/{image_id}",
    response_model=UpsertResult,
    responses=error_responses(*UPLOAD_ERRORS, 507)
    | {201: {"model": UpsertResult, "headers": _LOCATION}},
    openapi_extra=bodies.replacement_body(),
    dependencies=_READ_FORM,
)
async def put(
    request: Request, state: StateDep, _: RequireAdmin, uploads: ReplacementDep
) -> Response:
    """Add an image with this id, or replace the one that has it."""
    return await _add(request, state, uploads, replace=True)


@router.patch(
    "/{image_id}",
    responses=error_responses(400, 404, ConflictError, 413, 422, 503, 507),
    openapi_extra=bodies.json_body("GalleryEdit"),
)
async def edit(request: Request, state: StateDep, _: RequireAdmin, image_id: str) -> GalleryItem:
    """Change an image's label or attributes; fields that are left out do not change."""
    requested = json_body.read(GalleryEdit, await request.body(), MAX_JSON_COMMAS)
    classes = state.bundle.manifest.classes

    def change(item: Item) -> Item:
        attributes = {**item.attributes, **requested.attributes}
        left = {name: value for name, value in attributes.items() if value is not None}
        if len(left) > MAX_ATTRIBUTES:
            raise ConflictError(
                f"The image would have more than {MAX_ATTRIBUTES} attributes. To remove some, set "
                "them to null."
            )
        item = dataclasses.replace(item, attributes=left)
        if "label" not in requested.model_fields_set:
            return item
        label = requested.label or item.predicted or (item.label if classes else "")
        return dataclasses.replace(item, label=label, label_predicted=requested.label is None)

    item = await asyncio.wrap_future(state.gallery.edit(image_id, change))
    state.metrics.changes.labels("edited").inc()
    return gallery_item(item)


@router.delete("/{image_id}", status_code=204, responses=error_responses(404, 422, 503, 507))
async def remove(state: StateDep, _: RequireAdmin, image_id: str) -> None:
    """Delete an image from the gallery, whether it was added or is part of the bundle."""
    await asyncio.wrap_future(state.gallery.remove(image_id))
    state.metrics.changes.labels("removed").inc()


async def _add(request: Request, state: State, uploads: Uploads, *, replace: bool) -> Response:
    with state.admission.permit(Priority.BACKGROUND, len(uploads.images)) as permit:
        pixels = await decode_images(request.scope, state, uploads.files, uploads.fit, permit)
        results = await embed_images(request.scope, state, pixels, permit.priority)
        additions = await concurrency.run_in_pool(
            lambda: _additions(state, uploads, pixels, results), state.background, permit.retain()
        )
        await state.admission.wait_idle()
        adding = state.gallery.add(additions, replace=replace)
        added = await concurrency.wait_for(adding, permit.retain())
    stored = iter(added)
    outcomes = [next(stored) if isinstance(image, Embeddings) else image for image in results]
    if not uploads.several and isinstance(outcomes[0], KindredError):
        raise outcomes[0]
    shown = [one for one in outcomes if isinstance(one, Added)]
    for one in shown:
        state.metrics.changes.labels(one.outcome).inc()
    new = [one.item.id for one in shown if one.outcome == "created"]
    responses = [
        _to_response(one).model_dump(mode="json") if isinstance(one, Added) else one
        for one in outcomes
    ]
    return Response(
        to_json(responses, request.url.path, several=uploads.several),
        status_code=HTTPStatus.CREATED if new else HTTPStatus.OK,
        headers={"Location": links.get().to_item(new[0])} if len(new) == 1 else {},
        media_type="application/json",
    )


def _additions(
    state: State,
    uploads: Uploads,
    pixels: Sequence[Pixels | KindredError],
    results: Sequence[Embeddings | KindredError],
) -> list[Addition]:
    """Return the embedded images as the gallery stores them."""
    return [
        addition(state, upload.metadata, image, embeddings)
        for upload, image, embeddings in zip(uploads.images, pixels, results, strict=True)
        if isinstance(embeddings, Embeddings) and not isinstance(image, KindredError)
    ]


def _to_response(one: Added) -> UpsertResult:
    return UpsertResult(**dict(gallery_item(one.item)), outcome=one.outcome)

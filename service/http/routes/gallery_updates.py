"""`POST /gallery`, `PUT`, `PATCH` and `DELETE /gallery/{id}`: what changes the gallery.

An answer means that the change is kept for good, and seen by whatever is asked next.
"""

import dataclasses
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from service import concurrency
from service.engine.types import Representation
from service.errors import ConflictError, KindredError, MalformedBodyError
from service.gallery.types import Added, Addition, Item
from service.http import problems
from service.http.auth import MayChange
from service.http.codecs import json_body
from service.http.codecs.ingest import NOTED_BODY, Noted, PostedNoted, addition
from service.http.dependencies import POSTING, Serving
from service.http.inference import represent_each
from service.http.problems import documented
from service.retrieval.convert import gallery_item
from service.schemas.errors import Failure, Results
from service.schemas.gallery import (
    ATTRIBUTES,
    JSON_COMMAS,
    GalleryEdit,
    GalleryItem,
    ImageId,
    Kept,
)
from service.state import State

router = APIRouter(prefix="/gallery", tags=["gallery"])

T = TypeVar("T")

NewId = Annotated[ImageId, Path(description="Letters, digits and . _ ~ -, up to 128.")]
_LOCATION = {"Location": {"description": "Where one new image is.", "schema": {"type": "string"}}}
_KEPT: dict[int | str, dict[str, Any]] = {  # Any: FastAPI's own type
    200: {"description": "It was there already, or each has its own answer."},
}


@router.post(
    "",
    status_code=201,
    response_model=Kept | Results[Kept],
    responses=documented(*POSTING, ConflictError, 507)
    | {200: {**_KEPT[200], "model": Kept | Results[Kept]}, 201: {"headers": _LOCATION}},
    openapi_extra=NOTED_BODY,
)
async def add(request: Request, serving: Serving, _: MayChange, posted: PostedNoted) -> Response:
    """Keep one picture or several, which are then among what is searched.

    Attributes are given in the query as `attribute.NAME=text`, or in JSON for each picture. The
    same picture under the same id, or with the same `Idempotency-Key`, is kept once; another under
    the same id is 409, or its own error among several.
    """
    return await _keep(request, serving, posted, replace=False)


@router.put(
    "/{image_id}",
    response_model=Kept,
    responses=documented(*POSTING, 507) | {201: {"model": Kept, "headers": _LOCATION}},
    openapi_extra=NOTED_BODY,
)
async def put(
    request: Request, serving: Serving, _: MayChange, image_id: NewId, posted: PostedNoted
) -> Response:
    """Keep a picture under an id, in the place of the one that is there, if any."""
    if posted.pictures.several:
        raise MalformedBodyError("One picture has this id; several can be sent to POST /gallery.")
    note = posted.notes[0].model_copy(update={"id": image_id})
    return await _keep(request, serving, Noted(posted.pictures, (note,)), replace=True)


@router.patch(
    "/{image_id}",
    responses=documented(400, 404, ConflictError, 413, 422, 503, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": GalleryEdit.model_json_schema()}},
        }
    },
)
async def edit(request: Request, serving: Serving, _: MayChange, image_id: str) -> GalleryItem:
    """Change an image's label or attributes; those that are left out stay as they are."""
    wanted = json_body.read(GalleryEdit, await request.body(), JSON_COMMAS)

    def change(item: Item) -> Item:
        attributes = {**item.attributes, **wanted.attributes}
        kept = {name: value for name, value in attributes.items() if value is not None}
        if len(kept) > ATTRIBUTES:
            raise ConflictError(f"It would have more than {ATTRIBUTES} attributes.")
        item = dataclasses.replace(item, attributes=kept)
        if "label" not in wanted.model_fields_set:
            return item
        label = wanted.label or item.predicted or item.label
        return dataclasses.replace(item, label=label, label_predicted=wanted.label is None)

    item = await _change(serving, lambda: serving.gallery.edit(image_id, change))
    serving.metrics.changes.labels("edited").inc()
    return gallery_item(item)


@router.delete("/{image_id}", status_code=204, responses=documented(404, 422, 503, 507))
async def remove(serving: Serving, _: MayChange, image_id: str) -> None:
    """Take an image out of the gallery for good, be it added or the bundle's."""
    await _change(serving, lambda: serving.gallery.remove(image_id))
    serving.metrics.changes.labels("removed").inc()


async def _keep(request: Request, serving: State, posted: Noted, *, replace: bool) -> Response:
    count = len(posted.pictures.pictures)
    with serving.behind.room(count):
        represented = await represent_each(request, serving, posted.pictures, behind=True)
        additions = await concurrency.run(
            lambda: _additions(serving, posted, represented), serving.background
        )
        await serving.pauses.wait()

        def keep() -> tuple[str, list[Added]]:
            outcomes = iter(serving.gallery.add(additions, replace=replace))
            said = [
                next(outcomes) if isinstance(image, Representation) else image
                for image in represented
            ]
            return _said(said, request.url.path, several=posted.pictures.several)

        body, added = await _change(serving, keep)
    for one in added:
        serving.metrics.changes.labels(one.outcome).inc()
    new = [one.item.id for one in added if one.outcome == "created"]
    return Response(
        body,
        status_code=HTTPStatus.CREATED if new else HTTPStatus.OK,
        headers={"Location": f"/gallery/{quote(new[0], safe='')}"} if len(new) == 1 else {},
        media_type="application/json",
    )


def _additions(
    serving: State, posted: Noted, represented: Sequence[Representation | KindredError]
) -> list[Addition]:
    """Those that the network has represented, as they are to be kept."""
    return [
        addition(serving, note, pixels, image)
        for note, pixels, image in zip(
            posted.notes, posted.pictures.pictures, represented, strict=True
        )
        if isinstance(image, Representation) and not isinstance(pixels, KindredError)
    ]


def _said(
    outcomes: Sequence[Added | KindredError], path: str, *, several: bool
) -> tuple[str, list[Added]]:
    """The answer as JSON, and what is in the gallery now; one alone fails with its own error."""
    if not several and isinstance(outcomes[0], KindredError):
        raise outcomes[0]
    written = [_written(one, path).model_dump_json() for one in outcomes]
    body = f'{{"results":[{",".join(written)}]}}' if several else written[0]
    return body, [one for one in outcomes if isinstance(one, Added)]


def _written(one: Added | KindredError, path: str) -> BaseModel:
    if isinstance(one, KindredError):
        return Failure(error=problems.problem(one, path))
    return Kept(**dict(gallery_item(one.item)), outcome=one.outcome)


async def _change(serving: State, work: Callable[[], T]) -> T:
    """Have the disk waited for in a thread of its own: whoever searches needs none of these."""
    return await concurrency.run(work, serving.writers)

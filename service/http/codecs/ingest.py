"""Parses images to be added to the gallery, with their metadata, into `Addition`s.

Metadata is in the query, or in JSON for each image. Knows HTTP and embeddings; nothing of where
images are stored.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, Header, Path, Query, Request
from pydantic import TypeAdapter, ValidationError

from service import images
from service.engine.types import Embeddings, Priority
from service.errors import MalformedBodyError
from service.gallery.conditions import Value
from service.gallery.types import Addition, Item
from service.http.codecs.json_body import describe_error
from service.http.codecs.uploads import FitQuery, ImageMetadata, Uploads, parse_uploads
from service.http.dependencies import AttributesDep, StateDep
from service.schemas.gallery import Attributes, ImageId, Label
from service.state import State
from training.bundle import Fit, Pixels

_ATTRIBUTES: Final[TypeAdapter[dict[str, Value]]] = TypeAdapter(Attributes)


NewId = Annotated[ImageId, Path(description="Letters, digits and . _ ~ -, up to 128.")]
LabelQuery = Annotated[
    Label | None,
    Query(description="The label of the image. Default: the class that the network predicts."),
]


async def _read_labelled_uploads(
    request: Request,
    state: StateDep,
    attributes: AttributesDep,
    fit: FitQuery = "crop",
    label: LabelQuery = None,
    given_id: Annotated[
        ImageId | None,
        Query(alias="id", description="The id of the one image. Default: a new one."),
    ] = None,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Determines the ids, so that a repeated request adds nothing.",
        ),
    ] = None,
) -> Uploads:
    defaults = ImageMetadata(id=given_id, label=label, attributes=_validated(attributes))
    return await _read(request, state, fit, defaults, key)


async def _read_replacement(
    request: Request,
    state: StateDep,
    attributes: AttributesDep,
    image_id: NewId,
    fit: FitQuery = "crop",
    label: LabelQuery = None,
) -> Uploads:
    defaults = ImageMetadata(id=image_id, label=label, attributes=_validated(attributes))
    return await _read(request, state, fit, defaults)


LabelledUploadsDep = Annotated[Uploads, Depends(_read_labelled_uploads)]
ReplacementDep = Annotated[Uploads, Depends(_read_replacement)]
"""The one image of a request to a path with an id."""


async def _read(
    request: Request, state: State, fit: Fit, defaults: ImageMetadata, key: str | None = None
) -> Uploads:
    state.admission.check(Priority.BACKGROUND)
    uploads = await parse_uploads(request, state, fit, labelled=True)
    if defaults.id is not None and uploads.several:
        raise MalformedBodyError(
            "This id is that of one image, and there are several here. Send them to POST /gallery, "
            'each with its own id in JSON: {"images": [{"image": …, "id": …}, …]}.'
        )
    return replace(
        uploads,
        images=tuple(
            replace(one, metadata=_complete(one.metadata, defaults, key, position))
            for position, one in enumerate(uploads.images)
        ),
    )


def addition(state: State, meta: ImageMetadata, pixels: Pixels, image: Embeddings) -> Addition:
    """Return an image as the gallery stores it; `meta` has an id."""
    predicted_label = state.responses.predicted(image)
    assert meta.id is not None  # noqa: S101  `_complete` sets it
    return Addition(
        Item(
            id=meta.id,
            label=meta.label or predicted_label or "",
            predicted=predicted_label,
            label_predicted=meta.label is None,
            attributes=meta.attributes,
            source="added",
            created_at=datetime.now(UTC),
        ),
        png=images.encode(pixels),
        vectors={layer: image.layers[layer] for layer in state.gallery.snapshot().layers},
        network=state.gallery.network,
    )


def _complete(
    meta: ImageMetadata, defaults: ImageMetadata, key: str | None, position: int
) -> ImageMetadata:
    """Return the metadata of one image with the defaults of the request, and with an id.

    Without an id, it is derived from an idempotency key and the image's position, if there is a
    key.

    Raises:
        MalformedBodyError: the body has another id than the path or the query.

    """
    if None not in (meta.id, defaults.id) and meta.id != defaults.id:
        raise MalformedBodyError(f"One image has two ids, {defaults.id} and {meta.id}.")
    new_id = _new_id(position) if key is None else _derived_id(key, position)
    return ImageMetadata(
        id=defaults.id or meta.id or new_id,
        label=meta.label or defaults.label,
        attributes=_validated({**defaults.attributes, **meta.attributes}),
    )


def _validated(attributes: Mapping[str, Value]) -> dict[str, Value]:
    try:
        return _ATTRIBUTES.validate_python(attributes)
    except ValidationError as error:
        raise MalformedBodyError(
            describe_error(error).replace("The JSON is", "The attributes are")
        ) from error


def _derived_id(key: str, position: int) -> str:
    return f"added-{hashlib.sha256(f'{position} {key}'.encode()).hexdigest()[:24]}"


def _new_id(position: int) -> str:
    """Return a new id; ids sort by time."""
    return f"added-{time.time_ns() // 1000:014x}{position:03x}{secrets.token_hex(4)}"

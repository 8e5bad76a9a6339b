"""Pictures that are to be kept, and what is said of them: from a request to `Addition`.

The pictures come as everywhere. In JSON each may have its own label, attributes and id; else they
are in the query. Knows HTTP and the network's representations; nothing of where images are kept.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError

from service import concurrency, images
from service.engine.types import Embeddings, Priority
from service.errors import MalformedBodyError
from service.gallery.types import Addition, Item, Value
from service.http.codecs import json_body
from service.http.codecs.images import (
    REQUEST_BODY,
    Uploads,
    from_base64,
    load_uploads,
    too_many,
)
from service.http.codecs.json_body import describe_error
from service.http.dependencies import StateDep, attributes_of
from service.schemas.gallery import MAX_JSON_COMMAS, Attributes, ImageId, Label
from service.state import State
from training.bundle import Fit, Pixels


class ImageMetadata(BaseModel):
    """What is said of a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ImageId | None = None
    label: Label | None = None
    attributes: Attributes = Field(default_factory=dict)


class _LabelledImage(ImageMetadata):
    image: str = Field(description="The picture as base64.")


class _Several(BaseModel):
    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[_LabelledImage | str], Field(min_length=1)]


class _Body(RootModel[_LabelledImage | _Several]):
    """What JSON may hold."""


_VALUES: Final = MAX_JSON_COMMAS + 5
"""Commas in the JSON of one picture, with that in its data: URI and one to the next."""
_ATTRIBUTES: Final[TypeAdapter[dict[str, Value]]] = TypeAdapter(Attributes)


@dataclass(frozen=True)
class LabelledUpload:
    """The images of a request with their metadata."""

    uploads: Uploads
    metadata: tuple[ImageMetadata, ...]


async def _read(
    request: Request,
    state: StateDep,
    fit: Annotated[
        Fit, Query(description="How a picture that is not square becomes one.")
    ] = "crop",
    label: Annotated[
        Label | None, Query(description="What it is; what the network takes it for, if left out.")
    ] = None,
    given_id: Annotated[
        ImageId | None,
        Query(alias="id", description="For one picture; made up where it is left out."),
    ] = None,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Makes the ids: the same request again then adds nothing.",
        ),
    ] = None,
) -> LabelledUpload:
    said = ImageMetadata(label=label, attributes=_validated(attributes_of(request)))
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        labelled = await _read_json(request, state, fit, said)
    else:
        uploads = await load_uploads(request, state, fit, Priority.BACKGROUND)
        labelled = LabelledUpload(uploads, (said,) * len(uploads.files))
    if given_id is not None:
        if len(labelled.metadata) > 1:
            raise MalformedBodyError(
                "An id in the query is that of one picture, and there are several here: give each "
                'its own in JSON, {"images": [{"image": …, "id": …}, …]}.'
            )
        labelled = LabelledUpload(
            labelled.uploads, (labelled.metadata[0].model_copy(update={"id": given_id}),)
        )
    return LabelledUpload(labelled.uploads, _with_ids(labelled.metadata, key))


LabelledUploadDep = Annotated[LabelledUpload, Depends(_read)]


def addition(state: State, meta: ImageMetadata, pixels: Pixels, image: Embeddings) -> Addition:
    """A picture as it is to be kept."""
    predicted_label = state.responses.classify([image], 1)[0].predictions[0].label
    assert meta.id is not None  # noqa: S101  `_with_ids` has seen to it
    return Addition(
        Item(
            id=meta.id,
            label=meta.label or predicted_label,
            predicted=predicted_label,
            label_predicted=meta.label is None,
            attributes=meta.attributes,
            source="added",
            created_at=datetime.now(UTC),
        ),
        png=images.encode(pixels),
        vectors={layer: image.layers[layer] for layer in state.gallery.layers},
        network=state.gallery.network,
    )


async def _read_json(
    request: Request, state: State, fit: Fit, said: ImageMetadata
) -> LabelledUpload:
    state.admission.check(Priority.BACKGROUND)
    most = state.settings.max_client_batch_size
    sent = await request.body()
    body = (
        await concurrency.run_in_pool(
            lambda: json_body.read(_Body, sent, most * _VALUES), state.decoders
        )
    ).root
    several = isinstance(body, _Several)
    given = body.images if isinstance(body, _Several) else [body]
    if len(given) > most:
        raise too_many(most)
    files = [from_base64(one if isinstance(one, str) else one.image) for one in given]
    uploads = Uploads(files, several, fit)
    return LabelledUpload(uploads, tuple(_with_defaults(one, said) for one in given))


def _with_defaults(one: _LabelledImage | str, said: ImageMetadata) -> ImageMetadata:
    """What is said of one picture, and of all where nothing is said of it."""
    if isinstance(one, str):
        return said
    return ImageMetadata(
        id=one.id, label=one.label or said.label, attributes=said.attributes | one.attributes
    )


def _validated(attributes: Mapping[str, str]) -> dict[str, Value]:
    try:
        return _ATTRIBUTES.validate_python(attributes)
    except ValidationError as error:
        raise MalformedBodyError(
            describe_error(error).replace("The JSON is", "The attributes are")
        ) from error


def _with_ids(metadata: tuple[ImageMetadata, ...], key: str | None) -> tuple[ImageMetadata, ...]:
    """Each with an id; made of the key and its place, where there is one, so always the same."""
    return tuple(
        meta
        if meta.id is not None
        else meta.model_copy(
            update={"id": _new_id(place) if key is None else _derived_id(key, place)}
        )
        for place, meta in enumerate(metadata)
    )


def _derived_id(key: str, place: int) -> str:
    return f"added-{hashlib.sha256(f'{place} {key}'.encode()).hexdigest()[:24]}"


def _new_id(place: int) -> str:
    """In the order of time."""
    return f"added-{time.time_ns() // 1000:014x}{place:03x}{secrets.token_hex(4)}"


def _request_body() -> dict[str, Any]:
    """As everywhere, but what JSON may say of each picture."""
    content = dict(REQUEST_BODY["requestBody"]["content"])
    base64 = {"type": "string", "contentEncoding": "base64"}
    labelled = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": base64, **ImageMetadata.model_json_schema()["properties"]},
    }
    several = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {"type": "array", "minItems": 1, "items": {"anyOf": [labelled, base64]}}
        },
    }
    one = {"image": images.EXAMPLE, "label": "cat", "attributes": {"shelf": 3}}
    content["application/json"] = {
        "schema": {"oneOf": [{"title": "One", **labelled}, {"title": "Several", **several}]},
        "examples": {
            "one": {"summary": "One picture", "value": one},
            "several": {"summary": "Several", "value": {"images": [one, images.EXAMPLE]}},
        },
    }
    return {"requestBody": {**REQUEST_BODY["requestBody"], "content": content}}


LABELLED_BODY: Final = _request_body()
"""What OpenAPI says of the body of a route that keeps pictures."""

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
from service.engine.types import Representation
from service.errors import MalformedBodyError
from service.gallery.types import Addition, Item, Value
from service.http.codecs import json_body
from service.http.codecs.images import (
    REQUEST_BODY,
    Pictures,
    decode_all,
    from_base64,
    pictures_of,
    too_many,
)
from service.http.codecs.json_body import why_not
from service.http.dependencies import Serving, attributes_of
from service.schemas.gallery import JSON_COMMAS, Attributes, ImageId, Label
from service.state import State
from training.bundle import Fit, Pixels


class Note(BaseModel):
    """What is said of a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ImageId | None = None
    label: Label | None = None
    attributes: Attributes = Field(default_factory=dict)


class _Noted(Note):
    image: str = Field(description="The picture as base64.")


class _Several(BaseModel):
    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[_Noted | str], Field(min_length=1)]


class _Body(RootModel[_Noted | _Several]):
    """What JSON may hold."""


_VALUES: Final = JSON_COMMAS + 5
"""Commas in the JSON of one picture, with that in its data: URI and one to the next."""
_ATTRIBUTES: Final[TypeAdapter[dict[str, Value]]] = TypeAdapter(Attributes)


@dataclass(frozen=True)
class Noted:
    """The pictures of a request, and what is said of each."""

    pictures: Pictures
    notes: tuple[Note, ...]


async def _read(
    request: Request,
    serving: Serving,
    fit: Annotated[
        Fit, Query(description="How a picture that is not square becomes one.")
    ] = "crop",
    label: Annotated[
        Label | None, Query(description="What it is; what the network takes it for, if left out.")
    ] = None,
    its_id: Annotated[
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
) -> Noted:
    said = Note(label=label, attributes=_checked(attributes_of(request)))
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        noted = await _read_json(request, serving, fit, said)
    else:
        pictures = await pictures_of(request, serving, fit, behind=True)
        noted = Noted(pictures, (said,) * len(pictures.pictures))
    if its_id is not None:
        if len(noted.notes) > 1:
            raise MalformedBodyError(
                "An id in the query is that of one picture, and there are several here: give each "
                'its own in JSON, {"images": [{"image": …, "id": …}, …]}.'
            )
        noted = Noted(noted.pictures, (noted.notes[0].model_copy(update={"id": its_id}),))
    return Noted(noted.pictures, _with_ids(noted.notes, key))


PostedNoted = Annotated[Noted, Depends(_read)]


def addition(serving: State, note: Note, pixels: Pixels, image: Representation) -> Addition:
    """A picture as it is to be kept."""
    taken_for = serving.answers.classify([image], 1)[0].predictions[0].label
    assert note.id is not None  # noqa: S101  `_with_ids` has seen to it
    return Addition(
        Item(
            id=note.id,
            label=note.label or taken_for,
            predicted=taken_for,
            label_predicted=note.label is None,
            attributes=note.attributes,
            source="added",
            created_at=datetime.now(UTC),
        ),
        png=images.encode(pixels),
        vectors={layer: image.layers[layer] for layer in serving.gallery.layers},
        network=serving.gallery.network,
    )


async def _read_json(request: Request, serving: State, fit: Fit, said: Note) -> Noted:
    serving.behind.check_room()
    most = serving.settings.max_images
    sent = await request.body()
    body = (
        await concurrency.run(lambda: json_body.read(_Body, sent, most * _VALUES), serving.decoders)
    ).root
    several = isinstance(body, _Several)
    given = body.images if isinstance(body, _Several) else [body]
    if len(given) > most:
        raise too_many(most)
    files = [from_base64(one if isinstance(one, str) else one.image) for one in given]
    pictures = await decode_all(request, serving, files, fit, several=several, behind=True)
    return Noted(pictures, tuple(_completed(one, said) for one in given))


def _completed(one: _Noted | str, said: Note) -> Note:
    """What is said of one picture, and of all where nothing is said of it."""
    if isinstance(one, str):
        return said
    return Note(
        id=one.id, label=one.label or said.label, attributes=said.attributes | one.attributes
    )


def _checked(attributes: Mapping[str, str]) -> dict[str, Value]:
    try:
        return _ATTRIBUTES.validate_python(attributes)
    except ValidationError as error:
        raise MalformedBodyError(
            why_not(error).replace("The JSON is", "The attributes are")
        ) from error


def _with_ids(notes: tuple[Note, ...], key: str | None) -> tuple[Note, ...]:
    """Each with an id; made of the key and its place, where there is one, so always the same."""
    return tuple(
        note
        if note.id is not None
        else note.model_copy(update={"id": _made_up(place) if key is None else _made(key, place)})
        for place, note in enumerate(notes)
    )


def _made(key: str, place: int) -> str:
    return f"added-{hashlib.sha256(f'{place} {key}'.encode()).hexdigest()[:24]}"


def _made_up(place: int) -> str:
    """In the order of time."""
    return f"added-{time.time_ns() // 1000:014x}{place:03x}{secrets.token_hex(4)}"


def _request_body() -> dict[str, Any]:
    """As everywhere, but what JSON may say of each picture."""
    content = dict(REQUEST_BODY["requestBody"]["content"])
    base64 = {"type": "string", "contentEncoding": "base64"}
    noted = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": base64, **Note.model_json_schema()["properties"]},
    }
    several = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {"type": "array", "minItems": 1, "items": {"anyOf": [noted, base64]}}
        },
    }
    one = {"image": images.EXAMPLE, "label": "cat", "attributes": {"shelf": 3}}
    content["application/json"] = {
        "schema": {"oneOf": [{"title": "One", **noted}, {"title": "Several", **several}]},
        "examples": {
            "one": {"summary": "One picture", "value": one},
            "several": {"summary": "Several", "value": {"images": [one, images.EXAMPLE]}},
        },
    }
    return {"requestBody": {**REQUEST_BODY["requestBody"], "content": content}}


NOTED_BODY: Final = _request_body()
"""What OpenAPI says of the body of a route that keeps pictures."""

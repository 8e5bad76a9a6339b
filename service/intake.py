"""Reads the picture, or pictures, of a request: a raw body, a form, or JSON with base64.

Never by URL: that is how servers are made to fetch what they should not. Knows HTTP; nothing of
the network.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from service import images, threads
from service.errors import KindredError, MalformedBodyError, NotAnImageError, TooLargeError, why_not
from service.state import Serving
from service.timing import timings_of
from training.bundle import Fit, Pixels

_OCTETS: Final = "application/octet-stream"
_FORM: Final = "multipart/form-data"
_JSON: Final = "application/json"
_DATA_URI: Final = re.compile(r"data:[^,]*;base64,")


@dataclass(frozen=True)
class Pictures:
    """The decoded pictures of a request, or why not; `several` asks for a list of answers."""

    pictures: tuple[Pixels | KindredError, ...]
    several: bool


@dataclass(frozen=True)
class _Files:
    """The pictures of a request as bytes."""

    files: Sequence[bytes | KindredError]
    several: bool


class _JsonBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str | None = None
    images: Annotated[list[str], FailFast()] = Field(default_factory=list)


async def read_pictures(
    request: Request,
    serving: Serving,
    fit: Annotated[
        Fit, Query(description="How a picture that is not square becomes one.")
    ] = "crop",
) -> Pictures:
    """Read and decode the pictures; those who cannot be served hear so before the decoding."""
    limits = serving.settings
    found = await _read_files(request, limits.max_images)
    if len(found.files) > limits.max_images:
        raise _too_many(limits.max_images)
    serving.check_room(len(found.files))
    pictures: list[Pixels | KindredError] = []
    with timings_of(request.scope).measure("decode"):
        for file in found.files:
            try:
                pictures.append(await decode(file, limits.max_pixels, fit, serving.decoders))
            except KindredError as error:
                if not found.several:
                    raise
                pictures.append(error)
    return Pictures(tuple(pictures), found.several)


Posted = Annotated[Pictures, Depends(read_pictures)]


async def decode(
    file: bytes | KindredError, max_pixels: int, fit: Fit, limiter: CapacityLimiter
) -> Pixels:
    """Decode here what is small, and in a thread what would hold the event loop up."""
    if isinstance(file, KindredError):
        raise file
    if len(file) <= images.SMALL_BYTES:
        image = images.read_header(file, max_pixels)
        if image.width * image.height <= images.SMALL_PIXELS:
            return images.decode(image, fit)

    def work() -> Pixels:
        return images.decode(images.read_header(file, max_pixels), fit)

    return await threads.run(work, limiter)


async def _read_files(request: Request, max_images: int) -> _Files:
    kind = request.headers.get("Content-Type", _OCTETS).partition(";")[0].strip().lower()
    if kind == _FORM:
        return await _read_form(request, max_images)
    if kind == _JSON:
        return _read_json(await request.body())
    if kind == _OCTETS or kind.startswith("image/"):
        return _Files([await request.body()], several=False)
    raise NotAnImageError(
        f"A body of type {kind!r} is not taken. Send the picture itself with its type, such as "
        f"'Content-Type: {images.MEDIA_TYPES[0]}', or {_FORM}, or {_JSON}."
    )


async def _read_form(request: Request, max_images: int) -> _Files:
    try:
        form = await request.form(max_files=max_images)
    except HTTPException as error:
        if "Too many files" in error.detail:
            raise _too_many(max_images) from error
        raise MalformedBodyError(f"The form cannot be read: {error.detail}") from error
    try:
        parts = form.getlist("file")
        files = [await part.read() for part in parts if isinstance(part, UploadFile)]
    finally:
        await form.close()
    if not files or len(files) < len(parts):
        raise MalformedBodyError(
            "The form has no file named 'file'; with curl, that is: -F file=@cat.png"
        )
    return _Files(files, several=len(files) > 1)


def _read_json(body: bytes) -> _Files:
    try:
        found = _JsonBody.model_validate_json(body)
    except ValidationError as error:
        raise MalformedBodyError(why_not(error)) from error
    if (found.image is None) == (not found.images):
        raise MalformedBodyError(
            'The JSON must have either "image", a picture as base64, or "images", a list of them.'
        )
    if found.image is not None:
        return _Files([from_base64(found.image)], several=False)
    return _Files([from_base64(text) for text in found.images], several=True)


def from_base64(text: str) -> bytes | KindredError:
    """A picture in JSON as its bytes, or why not."""
    try:
        return base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
    except (binascii.Error, ValueError):
        return MalformedBodyError(
            "The picture is not base64. (Pictures are sent, not fetched: URLs are not taken.)"
        )


def _too_many(max_images: int) -> TooLargeError:
    return TooLargeError(f"There are more than {max_images} images in this request.")


_BINARY: Final = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_BASE64: Final = {"type": "string", "contentEncoding": "base64"}

REQUEST_BODY: Final[dict[str, Any]] = {  # Any: FastAPI's own type of `openapi_extra`
    "requestBody": {
        "required": True,
        "description": "One picture as it is, or one or several in a form or in JSON. The JSON "
        "form `images`, and a form with several files, are answered by a list of results.",
        "content": {
            **dict.fromkeys((*images.MEDIA_TYPES, _OCTETS), _BINARY),
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "string",
                                "contentMediaType": _OCTETS,
                                "format": "binary",
                            },
                        }
                    },
                }
            },
            _JSON: {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "title": "One",
                            "required": ["image"],
                            "additionalProperties": False,
                            "properties": {"image": _BASE64},
                        },
                        {
                            "type": "object",
                            "title": "Several",
                            "required": ["images"],
                            "additionalProperties": False,
                            "properties": {
                                "images": {"type": "array", "minItems": 1, "items": _BASE64}
                            },
                        },
                    ]
                },
                "examples": {
                    "one": {"summary": "One picture", "value": {"image": images.EXAMPLE}},
                    "several": {
                        "summary": "Several pictures",
                        "value": {"images": [images.EXAMPLE, images.EXAMPLE]},
                    },
                },
            },
        },
    }
}
"""What OpenAPI says of the body of every route that takes pictures."""

"""Reads the picture, or pictures, of a request: a raw body, a form, or JSON with base64.

Never by URL: that is how servers are made to fetch what they should not. Knows HTTP; nothing of
the network.
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service import concurrency, images
from service.errors import KindredError, MalformedBodyError, NotAnImageError, TooLargeError
from service.http.codecs import json_body
from service.http.dependencies import StateDep
from service.state import State
from service.telemetry.timings import timings_of
from training.bundle import Fit, Pixels

_OCTETS: Final = "application/octet-stream"
_FORM: Final = "multipart/form-data"
_JSON: Final = "application/json"
_OTHER_VALUES: Final = 64
"""Commas in JSON besides those between pictures, and in the data: URI of each."""


@dataclass(frozen=True)
class Uploads:
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


async def read_uploads(
    request: Request,
    state: StateDep,
    fit: Annotated[
        Fit, Query(description="How a picture that is not square becomes one.")
    ] = "crop",
) -> Uploads:
    """Read and decode the pictures; those who cannot be served hear so before the decoding."""
    return await load_uploads(request, state, fit)


async def load_uploads(
    request: Request, state: State, fit: Fit, *, behind: bool = False
) -> Uploads:
    """As `read_uploads`; those to be added go `behind`, and the small ones are decoded there."""
    if behind:
        state.behind.check_room()
    else:
        state.check_room()
    found = await _read_files(request, state.settings.max_client_batch_size, state.decoders)
    return await decode_all(request, state, found.files, fit, several=found.several, behind=behind)


async def decode_all(
    request: Request,
    state: State,
    files: Sequence[bytes | KindredError],
    fit: Fit,
    *,
    several: bool,
    behind: bool = False,
) -> Uploads:
    """Decode the files of a request, which count meanwhile; one alone fails with its own error.

    Raises:
        KindredError: there is no room for so many, or the only one is no picture.

    """
    pictures: list[Pixels | KindredError] = []
    permit = state.behind.permit if behind else state.decode_permit
    small_in = state.background if behind else None
    with permit(len(files)), timings_of(request.scope).measure("decode"):
        for file in files:
            try:
                pictures.append(
                    await decode(
                        file, state.settings.max_pixels, fit, state.decoders, small_in=small_in
                    )
                )
            except KindredError as error:
                if not several:
                    state.metrics.images.labels("refused").inc()
                    raise
                pictures.append(error)
            if several:
                await asyncio.sleep(0)  # many small ones would hold the event loop up, too
    return Uploads(tuple(pictures), several)


UploadsDep = Annotated[Uploads, Depends(read_uploads)]


async def decode(
    file: bytes | KindredError,
    max_pixels: int,
    fit: Fit,
    pool: ThreadPoolExecutor,
    *,
    small_in: ThreadPoolExecutor | None = None,
) -> Pixels:
    """Decode in a thread what would hold the event loop up, and here what is small.

    What is small goes to `small_in` instead, where that is given.
    """
    if isinstance(file, KindredError):
        raise file
    if len(file) <= images.SMALL_BYTES:
        image = images.read_header(file, max_pixels)
        if image.width * image.height <= images.SMALL_PIXELS:
            if small_in is None:
                return images.decode(image, fit)
            return await concurrency.run_in_pool(lambda: images.decode(image, fit), small_in)

    def work() -> Pixels:
        return images.decode(images.read_header(file, max_pixels), fit)

    return await concurrency.run_in_pool(work, pool)


async def _read_files(request: Request, max_images: int, pool: ThreadPoolExecutor) -> _Files:
    kind = request.headers.get("Content-Type", _OCTETS).partition(";")[0].strip().lower()
    if kind == _FORM:
        return await _read_form(request, max_images)
    if kind == _JSON:
        body = await request.body()
        if len(body) <= images.SMALL_BYTES:
            return _read_json(body, max_images)
        return await concurrency.run_in_pool(lambda: _read_json(body, max_images), pool)
    if kind == _OCTETS or kind.startswith("image/"):
        return _Files([await request.body()], several=False)
    raise NotAnImageError(
        f"A body of type {kind!r} is not taken. Send the picture itself with its type, such as "
        f"'Content-Type: {images.MEDIA_TYPES[0]}', or {_FORM}, or {_JSON}."
    )


async def _read_form(request: Request, max_images: int) -> _Files:
    try:
        form = await _FormParser(request.headers, request.stream(), max_files=max_images).parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise too_many(max_images) from error
        raise MalformedBodyError(f"The form cannot be read: {error.message}") from error
    except UnicodeError as error:  # the names in it are not of the charset that it says
        raise MalformedBodyError(f"The form cannot be read: {error}.") from error
    parts = form.getlist("file")
    files = [await part.read() for part in parts if isinstance(part, UploadFile)]
    if not files or len(files) < len(parts):
        raise MalformedBodyError(
            "The form has no file named 'file'; with curl, that is: -F file=@cat.png"
        )
    return _Files(files, several=len(files) > 1)


class _FormParser(MultiPartParser):
    """Keeps files in memory, where the limit of a body holds, rather than on a disk."""

    spool_max_size = 0  # without end, to the file that is named so


def _read_json(body: bytes, max_images: int) -> _Files:
    found = json_body.read(_JsonBody, body, 2 * max_images + _OTHER_VALUES)
    if (found.image is None) == (not found.images):
        raise MalformedBodyError(
            'The JSON must have either "image", a picture as base64, or "images", a list of them.'
        )
    if found.image is not None:
        return _Files([from_base64(found.image)], several=False)
    if len(found.images) > max_images:
        raise too_many(max_images)
    return _Files([from_base64(text) for text in found.images], several=True)


def from_base64(text: str) -> bytes | KindredError:
    """A picture in JSON as its bytes, or why not."""
    if text.startswith("data:"):
        head, _, data = text.partition(",")
        text = data if head.endswith(";base64") else text
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return MalformedBodyError(
            "The picture is not base64. (Pictures are sent, not fetched: URLs are not taken.)"
        )


def too_many(max_images: int) -> TooLargeError:
    """What is said to a request with more images than that."""
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

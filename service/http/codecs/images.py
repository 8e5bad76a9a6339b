"""Reads the picture, or pictures, of a request: a raw body, a form, or JSON with base64.

Never by URL: that is how servers are made to fetch what they should not. Knows HTTP; nothing of
the network.
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service import concurrency, images
from service.engine.admission import Permit
from service.engine.types import Priority
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
    """The image files of a request, not decoded; if `several`, the answer is a list."""

    files: Sequence[bytes | KindredError]
    several: bool
    fit: Fit = "crop"


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
    """Read the images of a request; a request that cannot be served is refused before that."""
    return await load_uploads(request, state, fit, Priority.INTERACTIVE)


UploadsDep = Annotated[Uploads, Depends(read_uploads)]


async def load_uploads(request: Request, state: State, fit: Fit, priority: Priority) -> Uploads:
    """Read the images of a request of this priority.

    Raises:
        KindredError: the request cannot be admitted, or its body cannot be read.

    """
    state.admission.check(priority)
    found = await _read_files(request, state.settings.max_client_batch_size, state.decoders)
    return replace(found, fit=fit)


async def decode_images(
    request: Request,
    state: State,
    files: Sequence[bytes | Pixels | KindredError],
    fit: Fit,
    permit: Permit,
) -> list[Pixels | KindredError]:
    """Decode the admitted files of a request; each may have its own error."""
    decoded: list[Pixels | KindredError] = []
    with timings_of(request.scope).measure("decode"):
        for file in files:
            if isinstance(file, bytes):
                try:
                    decoded.append(await _decode(file, state, fit, permit))
                except KindredError as error:
                    decoded.append(error)
                if len(files) > 1:
                    await asyncio.sleep(0)  # many small images must not block the event loop
            else:
                decoded.append(file)
    return decoded


async def _decode(file: bytes, state: State, fit: Fit, permit: Permit) -> Pixels:
    """Decode a large image in a thread, a small one on the event loop.

    A small one of background priority is decoded in the background thread.
    """
    max_pixels = state.settings.max_pixels
    if len(file) <= images.SMALL_BYTES:
        image = images.read_header(file, max_pixels)
        if image.width * image.height <= images.SMALL_PIXELS:
            if permit.priority is Priority.INTERACTIVE:
                return images.decode(image, fit)
            return await concurrency.run_in_pool(
                lambda: images.decode(image, fit), state.background, permit.retain()
            )

    def work() -> Pixels:
        return images.decode(images.read_header(file, max_pixels), fit)

    return await concurrency.run_in_pool(work, state.decoders, permit.retain())


async def _read_files(request: Request, max_images: int, pool: ThreadPoolExecutor) -> Uploads:
    kind = request.headers.get("Content-Type", _OCTETS).partition(";")[0].strip().lower()
    if kind == _FORM:
        return await _read_form(request, max_images)
    if kind == _JSON:
        body = await request.body()
        if len(body) <= images.SMALL_BYTES:
            return _read_json(body, max_images)
        return await concurrency.run_in_pool(lambda: _read_json(body, max_images), pool)
    if kind == _OCTETS or kind.startswith("image/"):
        return Uploads([await request.body()], several=False)
    raise NotAnImageError(
        f"A body of type {kind!r} is not taken. Send the picture itself with its type, such as "
        f"'Content-Type: {images.MEDIA_TYPES[0]}', or {_FORM}, or {_JSON}."
    )


async def _read_form(request: Request, max_images: int) -> Uploads:
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
    return Uploads(files, several=len(files) > 1)


class _FormParser(MultiPartParser):
    """Keeps files in memory, where the limit of a body holds, rather than on a disk."""

    spool_max_size = 0  # without end, to the file that is named so


def _read_json(body: bytes, max_images: int) -> Uploads:
    found = json_body.read(_JsonBody, body, 2 * max_images + _OTHER_VALUES)
    if (found.image is None) == (not found.images):
        raise MalformedBodyError(
            'The JSON must have either "image", a picture as base64, or "images", a list of them.'
        )
    if found.image is not None:
        return Uploads([from_base64(found.image)], several=False)
    if len(found.images) > max_images:
        raise too_many(max_images)
    return Uploads([from_base64(text) for text in found.images], several=True)


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

"""Parses the images of a request: a raw body, a form, or JSON with base64.

Images are never fetched from URLs, so that a request cannot make the server read other addresses.
Knows HTTP; nothing of decoding or of the network.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field

from service import concurrency, images
from service.engine.types import Priority
from service.errors import KindredError, MalformedBodyError, NotAnImageError
from service.http.codecs import base64_text, form_fields, json_body
from service.http.dependencies import StateDep
from service.schemas.gallery import MAX_JSON_COMMAS, Attributes, ImageId, Label
from service.state import State
from training.bundle import MEDIA_TYPES, Fit

_OCTETS: Final = "application/octet-stream"
_JSON: Final = "application/json"
_COMMAS_PER_IMAGE: Final = 5
"""Commas in the JSON of one image: one to the next, one in a data: URI, three between fields."""
_OTHER_COMMAS: Final = 64
_ONE_OF: Final = {"image", "images"}

FitQuery = Annotated[Fit, Query(description="How to make an image square that is not.")]


class ImageMetadata(BaseModel):
    """The metadata of an image to be added."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ImageId | None = None
    label: Label | None = None
    attributes: Attributes = Field(default_factory=dict)


NO_METADATA: Final = ImageMetadata()


@dataclass(frozen=True)
class Upload:
    """One image file, not decoded, or the error of reading it; and its metadata."""

    data: bytes | KindredError
    metadata: ImageMetadata = NO_METADATA


@dataclass(frozen=True)
class Uploads:
    """The images of a request; if `several`, the answer is a list."""

    images: tuple[Upload, ...]
    several: bool
    fit: Fit = "crop"

    @property
    def files(self) -> list[bytes | KindredError]:
        """The data of all images."""
        return [upload.data for upload in self.images]


class _LabelledImage(ImageMetadata):
    image: str = Field(description="The image as base64.")


class _Images(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str | None = None
    images: Annotated[list[str], FailFast()] = Field(default_factory=list)


class _LabelledImages(ImageMetadata):
    image: str | None = None
    images: Annotated[list[str | _LabelledImage], FailFast()] = Field(default_factory=list)


async def read_uploads(request: Request, state: StateDep, fit: FitQuery = "crop") -> Uploads:
    """Parse the images of an interactive request.

    Raises:
        KindredError: the request cannot be admitted, or its body cannot be parsed.

    """
    state.admission.check(Priority.INTERACTIVE)
    return await parse_uploads(request, state, fit)


UploadsDep = Annotated[Uploads, Depends(read_uploads)]


def is_raw_image(content_type: str) -> bool:
    """Return whether a body of this type is an image file as it is."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("", _OCTETS) or media_type.startswith("image/")


async def parse_uploads(
    request: Request, state: State, fit: Fit, *, labelled: bool = False
) -> Uploads:
    """Parse the images of a request; if `labelled`, JSON may have metadata of each.

    Raises:
        MalformedBodyError: the body is not what its type says, or has no image.
        NotAnImageError: the type is not supported.
        TooLargeError: there are too many images or values.

    """
    limit = state.settings.max_client_batch_size
    media_type = form_fields.media_type(request, _OCTETS)
    if media_type == form_fields.MEDIA_TYPE:
        files = form_fields.files_of(request)
        return Uploads(tuple(map(Upload, files)), several=len(files) > 1, fit=fit)
    if media_type == _JSON:
        body = await request.body()
        if len(body) <= images.SMALL_BYTES:
            return _parse_json(body, fit, limit, labelled=labelled)
        return await concurrency.run_in_pool(
            lambda: _parse_json(body, fit, limit, labelled=labelled), state.decoders
        )
    if is_raw_image(media_type):
        return Uploads((Upload(await request.body()),), several=False, fit=fit)
    raise NotAnImageError(
        f"A body of type {media_type!r} is not supported. Send the image itself with its type, "
        f"such as 'Content-Type: {MEDIA_TYPES['PNG']}', or {form_fields.MEDIA_TYPE}, or {_JSON}."
    )


def _parse_json(body: bytes, fit: Fit, limit: int, *, labelled: bool) -> Uploads:
    commas = _COMMAS_PER_IMAGE + (MAX_JSON_COMMAS if labelled else 0)
    max_commas = limit * commas + _OTHER_COMMAS
    model: type[_LabelledImages | _Images] = _LabelledImages if labelled else _Images
    found = json_body.read(model, body, max_commas)
    if (found.image is None) == (not found.images) or len(found.model_fields_set & _ONE_OF) > 1:
        raise MalformedBodyError(
            'The JSON must have either "image", an image as base64, or "images", a list of them.'
        )
    metadata = _metadata_of(found)
    if found.image is not None:
        upload = Upload(decode_base64(found.image), metadata)
        return Uploads((upload,), several=False, fit=fit)
    if metadata != NO_METADATA:
        raise MalformedBodyError(
            'Metadata next to "images" is not permitted: give each image its own, as in '
            '{"images": [{"image": …, "label": …}, …]}.'
        )
    if len(found.images) > limit:
        raise form_fields.too_many(limit)
    uploads = (
        Upload(decode_base64(one))
        if isinstance(one, str)
        else Upload(decode_base64(one.image), _metadata_of(one))
        for one in found.images
    )
    return Uploads(tuple(uploads), several=True, fit=fit)


def _metadata_of(found: BaseModel) -> ImageMetadata:
    """Return the metadata alone, so that the base64 need not be kept with it."""
    if not isinstance(found, ImageMetadata):
        return NO_METADATA
    return ImageMetadata(id=found.id, label=found.label, attributes=found.attributes)


def decode_base64(text: str) -> bytes | MalformedBodyError:
    """Decode base64 or a data: URI; return the error if it is neither."""
    if text[:5].lower() == "data:":
        head, _, data = text.partition(",")
        text = data if head.lower().endswith(";base64") else text
    try:
        return base64_text.decode(text)
    except ValueError:
        return MalformedBodyError(
            "The image is not base64. Send the image itself: URLs are not fetched."
        )

"""Schemas of gallery items, their attributes and updates."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
)
from pydantic.config import JsonDict

from service.schemas.base import RoundedFloat, Schema

Value = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | Annotated[StrictStr, Field(max_length=256)]
)
"""The value of an attribute."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]

MAX_ATTRIBUTES = 32
"""Maximum number of attributes per image."""

MAX_JSON_COMMAS: Final = 400 * MAX_ATTRIBUTES
"""Upper bound of the commas in one image's metadata; names and values may contain some."""

_FORBID_EXTRA: JsonDict = {"additionalProperties": False}

Attributes = Annotated[
    dict[Name, Value], Field(max_length=MAX_ATTRIBUTES, json_schema_extra=_FORBID_EXTRA)
]

Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]

ImageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$")]
"""An id that needs no quoting in a URL path."""


class GalleryItem(Schema):
    """One image of the gallery."""

    id: str = Field(examples=["cifar10-test-00042"])
    label: str | None = Field(examples=["cat"])
    """null if it has none: none was given, and the bundle has no classes."""
    predicted: str | None = Field(default=None, examples=["dog"])
    """The class that the network predicts; null if the bundle has no classes."""
    image: str | None = Field(examples=["/gallery/cifar10-test-00042/image"])
    """Path of its pixels; null if the gallery does not have them."""
    reconstruction: str | None = Field(
        default=None, examples=["/gallery/cifar10-test-00042/reconstruction"]
    )
    """Path of the picture drawn from its vector; null if the bundle has no decoders."""
    label_predicted: bool = False
    """Whether the label is the network's prediction."""
    attributes: dict[str, bool | int | float | str] = Field(
        default_factory=dict, examples=[{"shelf": 3}]
    )
    source: Literal["bundle", "added"] = "bundle"
    """Whether the image is part of the bundle or was added later."""
    created_at: datetime | None = None
    """When the image was added."""


class UpsertResult(GalleryItem):
    """One stored image, and whether the request created, replaced or left it."""

    outcome: Literal["created", "replaced", "unchanged"]


class GalleryEdit(Schema):
    """A merge patch (RFC 7396): fields left out stay, an attribute set to null is removed."""

    model_config = ConfigDict(extra="forbid")

    label: Label | None = None
    """null replaces the label by the network's prediction, or removes it without classes."""
    attributes: Annotated[dict[Name, Value | None], Field(max_length=MAX_ATTRIBUTES)] = Field(
        default_factory=dict, json_schema_extra=_FORBID_EXTRA, examples=[{"shelf": 4, "sold": None}]
    )


class Pair(Schema):
    """Two images of the gallery, and their cosine similarity."""

    first: GalleryItem
    second: GalleryItem
    score: RoundedFloat


class DuplicatesResponse(Schema):
    """Pairs of near-duplicates, and the cursor of the next page, if any."""

    layer: str = Field(examples=["conv2"])
    pairs: tuple[Pair, ...]
    looked_at: int
    """Number of images examined."""
    next: str | None


class DoubtfulItem(GalleryItem):
    """An image whose label is in doubt: the network and its ten nearest disagree with it."""

    doubt: RoundedFloat = Field(ge=0, le=1, examples=[0.8])
    """By how much the network rates `predicted` above the label."""
    nearest: dict[str, int] = Field(examples=[{"dog": 9, "cat": 1}])
    """How many of the ten nearest have each label, most first."""


class DoubtfulResponse(Schema):
    """Images whose label is in doubt, most doubtful first, and the cursor of the next page."""

    layer: str = Field(examples=["logits"])
    items: tuple[DoubtfulItem, ...]
    looked_at: int
    """Number of images examined."""
    next: str | None


class GalleryPage(Schema):
    """Images in the order of their ids; `next` is the cursor of the next page, if any."""

    items: tuple[GalleryItem, ...]
    next: str | None = Field(examples=["cifar10-test-00042"])

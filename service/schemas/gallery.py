"""Schemas of gallery items, their attributes and changes."""

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
"""What an attribute may be."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]

MAX_ATTRIBUTES = 32
"""So many attributes an image may have."""

MAX_JSON_COMMAS: Final = 400 * MAX_ATTRIBUTES
"""More than there can be in what is said of an image: names and values may have commas too."""

_FORBID_EXTRA: JsonDict = {"additionalProperties": False}

Attributes = Annotated[
    dict[Name, Value], Field(max_length=MAX_ATTRIBUTES, json_schema_extra=_FORBID_EXTRA)
]

Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]

ImageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$")]
"""Ids that need no quoting in a path."""


class GalleryItem(Schema):
    """One image of the gallery."""

    id: str = Field(examples=["cifar10-test-00042"])
    label: str = Field(examples=["cat"])
    predicted: str | None = Field(
        default=None, description="What the network takes it for.", examples=["dog"]
    )
    image: str = Field(examples=["/gallery/cifar10-test-00042/image"])
    label_predicted: bool = Field(
        default=False, description="Whether nobody gave the label: it is the network's."
    )
    attributes: dict[str, bool | int | float | str] = Field(
        default_factory=dict, examples=[{"shelf": 3}]
    )
    source: Literal["bundle", "added"] = Field(
        default="bundle", description="Whether it came with the bundle or was added."
    )
    created_at: datetime | None = Field(default=None, description="When it was added.")


class UpsertResult(GalleryItem):
    """One image that is in the gallery for good, and what became of it."""

    outcome: Literal["created", "replaced", "unchanged"]


class GalleryEdit(Schema):
    """What to change of an image (RFC 7396): what is left out stays, an attribute of null goes."""

    model_config = ConfigDict(extra="forbid")

    label: Label | None = Field(
        default=None, description="null takes the label back: then it is the network's."
    )
    attributes: Annotated[dict[Name, Value | None], Field(max_length=MAX_ATTRIBUTES)] = Field(
        default_factory=dict, json_schema_extra=_FORBID_EXTRA, examples=[{"shelf": 4, "sold": None}]
    )


class Pair(Schema):
    """Two images of the gallery, and their cosine."""

    first: GalleryItem
    second: GalleryItem
    score: RoundedFloat


class DuplicatesResponse(Schema):
    """Pairs of images that are much alike, and the cursor to further ones, if any."""

    layer: str = Field(examples=["conv2"])
    pairs: tuple[Pair, ...]
    looked_at: int = Field(description="Images whose pairs were looked for.")
    next: str | None


class GalleryPage(Schema):
    """Images in the order of their ids; `next` is the cursor to those after them, if any."""

    items: tuple[GalleryItem, ...]
    next: str | None = Field(examples=["cifar10-test-00042"])

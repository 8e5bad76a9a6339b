"""What goes over the wire, with examples. Types only: knows nothing of how answers are found.

Free of torch and FAISS, so that a client can use the same types as the service.
"""

from datetime import datetime
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
)
from pydantic.config import JsonDict

Figure = Annotated[float, PlainSerializer(lambda value: round(value, 6), return_type=float)]
"""A number that means nothing beyond its sixth decimal."""

Value = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | Annotated[StrictStr, Field(max_length=256)]
)
"""What an attribute may be."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ATTRIBUTES = 32
"""So many attributes an image may have."""
JSON_COMMAS: Final = 400 * ATTRIBUTES
"""More than there can be in what is said of an image: names and values may have commas too."""
_NO_OTHERS: JsonDict = {"additionalProperties": False}
Attributes = Annotated[
    dict[Name, Value], Field(max_length=ATTRIBUTES, json_schema_extra=_NO_OTHERS)
]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]
ImageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$")]
"""Ids that need no quoting in a path."""

HEAT = [[0.003, 0.007, 0.011, 0.009, 0.004, 0.002, 0.001, 0.001]] * 8
CAT: JsonDict = {"label": "cat", "index": 3, "probability": 0.9134}
KIN: JsonDict = {
    "id": "cifar10-test-00042",
    "label": "cat",
    "score": 0.8312,
    "image": "/gallery/cifar10-test-00042/image",
}


class Wire(BaseModel):
    """The base of all answers: plain data that does not change."""

    model_config = ConfigDict(frozen=True)


class FieldProblem(Wire):
    """What is wrong with one parameter."""

    location: str = Field(examples=["query.limit"])
    detail: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(Wire):
    """Why there is no answer (RFC 9457)."""

    type: str = Field(
        description="Names the kind of problem, for programs; about:blank: see the status.",
        examples=["urn:kindred:problem:queue-full"],
    )
    title: str = Field(examples=["Too busy"])
    status: int = Field(examples=[429])
    detail: str = Field(examples=["512 images wait and 512 may: try again later."])
    instance: str = Field(description="The path that was asked for.", examples=["/predict"])
    error: str = Field(description="The same as detail, for clients that look for it here.")
    errors: tuple[FieldProblem, ...] | None = Field(
        default=None, description="With 422: each parameter that is wrong."
    )


class Failure(Wire):
    """Takes the place of the answer for one image among several."""

    error: Problem


A = TypeVar("A", bound=Wire)


class Results(Wire, Generic[A]):
    """Answers to several images, in their order; each its own, or why there is none."""

    results: tuple[A | Failure, ...]


class ModelName(Wire):
    """Which network says so."""

    name: str = Field(examples=["batchnorm-3"])
    version: str = Field(examples=["49c6797bd2e7"])


class Reloaded(Wire):
    """Which network answers from now on, and which did."""

    previous: ModelName
    current: ModelName


class Prediction(Wire):
    """One class, and how probable the network finds it."""

    label: str
    index: int
    probability: Figure = Field(ge=0, le=1)

    model_config = ConfigDict(json_schema_extra={"examples": [CAT]})


class Neighbour(Wire):
    """An image of the gallery that is like the query."""

    id: str
    label: str
    score: Figure = Field(description="Cosine, in [-1, 1].")
    image: str = Field(description="Where its pixels are, if the bundle has them: else 404.")
    attributes: dict[str, bool | int | float | str] | None = Field(
        default=None, description="What it was given; left out where it has none."
    )
    heat: tuple[tuple[Figure, ...], ...] | None = Field(
        default=None,
        description="With explain, at conv2: 8 rows of 8 positions, adding up to the score.",
        examples=[HEAT],
    )
    terms: tuple[Figure, ...] | None = Field(
        default=None,
        description="With explain, at logits: one for each class, adding up to the score.",
    )

    model_config = ConfigDict(json_schema_extra={"examples": [KIN]})


class Classification(Wire):
    """What an image is."""

    model: ModelName
    predictions: tuple[Prediction, ...] = Field(description="Best first.")
    novelty: Figure | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How far the image lies from those that the network was trained on: the share "
        "of held-out images that lie less far. Left out where the bundle cannot tell.",
        examples=[0.62],
    )
    familiar: bool | None = Field(
        default=None,
        description="Whether it lies no farther than most held-out images do; if not, take the "
        "predictions with doubt. Left out where the bundle cannot tell.",
    )


class Predicted(Classification):
    """What an image is, and what is like it at each layer, best first."""

    similar: dict[str, tuple[Neighbour, ...]] = Field(examples=[{"conv2": [KIN], "logits": []}])


class Similar(Wire):
    """What is like an image at one layer, best first."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    similar: tuple[Neighbour, ...]


class Embedding(Wire):
    """An image as the network represents it at one layer."""

    model: ModelName
    layer: str = Field(examples=["logits"])
    dimension: int = Field(examples=[10])
    vector: tuple[float, ...]


class GalleryItem(Wire):
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


class Kept(GalleryItem):
    """One image that is in the gallery for good, and what became of it."""

    outcome: Literal["created", "replaced", "unchanged"]


class GalleryEdit(Wire):
    """What to change of an image (RFC 7396): what is left out stays, an attribute of null goes."""

    model_config = ConfigDict(extra="forbid")

    label: Label | None = Field(
        default=None, description="null takes the label back: then it is the network's."
    )
    attributes: Annotated[dict[Name, Value | None], Field(max_length=ATTRIBUTES)] = Field(
        default_factory=dict, json_schema_extra=_NO_OTHERS, examples=[{"shelf": 4, "sold": None}]
    )


class Pair(Wire):
    """Two images of the gallery, and their cosine."""

    first: GalleryItem
    second: GalleryItem
    score: Figure


class Duplicates(Wire):
    """Pairs of images that are much alike, and the cursor to further ones, if any."""

    layer: str = Field(examples=["conv2"])
    pairs: tuple[Pair, ...]
    looked_at: int = Field(description="Images whose pairs were looked for.")
    next: str | None


class GalleryPage(Wire):
    """Images in the order of their ids; `next` is the cursor to those after them, if any."""

    items: tuple[GalleryItem, ...]
    next: str | None = Field(examples=["cifar10-test-00042"])


class Health(Wire):
    """All is well."""

    status: Literal["alive", "ready"]

"""Schemas of answers about images: predictions, neighbours, embeddings."""

from pydantic import (
    ConfigDict,
    Field,
)
from pydantic.config import JsonDict

from service.schemas.base import ModelName, RoundedFloat, Schema

HEATMAP = [[0.003, 0.007, 0.011, 0.009, 0.004, 0.002, 0.001, 0.001]] * 8

CAT_EXAMPLE: JsonDict = {"label": "cat", "index": 3, "probability": 0.9134}

NEIGHBOUR_EXAMPLE: JsonDict = {
    "id": "cifar10-test-00042",
    "label": "cat",
    "score": 0.8312,
    "image": "/gallery/cifar10-test-00042/image",
}


class Prediction(Schema):
    """One class, and how probable the network finds it."""

    label: str
    index: int
    probability: RoundedFloat = Field(ge=0, le=1)

    model_config = ConfigDict(json_schema_extra={"examples": [CAT_EXAMPLE]})


class Neighbour(Schema):
    """An image of the gallery that is like the query."""

    id: str
    label: str
    score: RoundedFloat = Field(description="Cosine, in [-1, 1].")
    image: str = Field(description="Where its pixels are, if the bundle has them: else 404.")
    attributes: dict[str, bool | int | float | str] | None = Field(
        default=None, description="What it was given; left out where it has none."
    )
    heat: tuple[tuple[RoundedFloat, ...], ...] | None = Field(
        default=None,
        description="With explain, at conv2: 8 rows of 8 positions, adding up to the score.",
        examples=[HEATMAP],
    )
    terms: tuple[RoundedFloat, ...] | None = Field(
        default=None,
        description="With explain, at logits: one for each class, adding up to the score.",
    )

    model_config = ConfigDict(json_schema_extra={"examples": [NEIGHBOUR_EXAMPLE]})


class ClassifyResponse(Schema):
    """What an image is."""

    model: ModelName
    predictions: tuple[Prediction, ...] = Field(description="Best first.")
    novelty: RoundedFloat | None = Field(
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


class PredictResponse(ClassifyResponse):
    """What an image is, and what is like it at each layer, best first."""

    similar: dict[str, tuple[Neighbour, ...]] = Field(
        examples=[{"conv2": [NEIGHBOUR_EXAMPLE], "logits": []}]
    )


class SimilarResponse(Schema):
    """What is like an image at one layer, best first."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    similar: tuple[Neighbour, ...]


class EmbedResponse(Schema):
    """An image as the network represents it at one layer."""

    model: ModelName
    layer: str = Field(examples=["logits"])
    dimension: int = Field(examples=[10])
    vector: tuple[float, ...]

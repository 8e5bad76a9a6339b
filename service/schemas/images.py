"""Schemas of responses about images: predictions, neighbours, embeddings."""

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from service.schemas.base import ModelName, RoundedFloat, Schema

HEATMAP = [[0.003, 0.007, 0.011, 0.009, 0.004, 0.002, 0.001, 0.001]] * 8

CAT_EXAMPLE: JsonDict = {"label": "cat", "index": 3, "probability": 0.9134}

NEIGHBOUR_EXAMPLE: JsonDict = {
    "id": "cifar10-test-00042",
    "label": "cat",
    "score": 0.8312,
    "image": "/gallery/cifar10-test-00042/image",
    "reconstruction": "/gallery/cifar10-test-00042/reconstruction",
}


class Prediction(Schema):
    """One class and its probability."""

    label: str
    index: int
    probability: RoundedFloat = Field(ge=0, le=1)

    model_config = ConfigDict(json_schema_extra={"examples": [CAT_EXAMPLE]})


class Neighbour(Schema):
    """An image of the gallery that is similar to the query."""

    id: str
    label: str | None
    """null if it has none, as nothing gave it one."""
    score: RoundedFloat
    """Cosine similarity, in [-1, 1]."""
    image: str | None
    """Path of its pixels; null if the gallery does not have them."""
    reconstruction: str | None = None
    """Path of the picture drawn from its vector; left out if the bundle has no decoders."""
    attributes: dict[str, bool | int | float | str] | None = None
    """Its attributes; left out if it has none."""
    heat: tuple[tuple[RoundedFloat, ...], ...] | None = Field(default=None, examples=[HEATMAP])
    """With explain, at a layer over places: rows and columns, which add up to the score.

    /model says whether they are places of both images or of the query alone.
    """
    terms: tuple[RoundedFloat, ...] | None = None
    """With explain, at the layer of the classes: one term a class, adding up to the score."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEIGHBOUR_EXAMPLE]})


class ClassifyResponse(Schema):
    """The classes of an image."""

    model: ModelName
    predictions: tuple[Prediction, ...]
    """Best first; empty if the bundle has no classes."""
    novelty: RoundedFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How far the image is from the training images: the share of held-out images "
        "that are closer. Left out if the bundle has no novelty statistics.",
        examples=[0.62],
    )
    familiar: bool | None = Field(
        default=None,
        description="Whether the novelty is within that of most held-out images. If false, do not "
        "rely on the predictions. Left out if the bundle has no novelty statistics.",
    )


class PredictResponse(ClassifyResponse):
    """The classes of an image, and its nearest neighbours at each layer, best first."""

    similar: dict[str, tuple[Neighbour, ...]] = Field(
        examples=[{"conv2": [NEIGHBOUR_EXAMPLE], "logits": []}]
    )


class SimilarResponse(Schema):
    """The nearest neighbours of an image at one layer, best first."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    similar: tuple[Neighbour, ...]


class EmbedResponse(Schema):
    """The vector of an image at one layer."""

    model: ModelName
    layer: str = Field(examples=["logits"])
    dimension: int = Field(examples=[10])
    vector: tuple[float, ...]

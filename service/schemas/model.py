"""Schemas of `/model` and `/experiments`. These import the training records."""

from datetime import datetime

from pydantic import Field

from service.schemas.base import RoundedFloat, Schema
from training.bundle import DatasetMetadata, Metrics, Record, Summary


class Experiments(Schema):
    """Stored accuracy and training time of the experiments."""

    experiments: tuple[Summary, ...]


class Experiment(Summary):
    """One experiment, with the record of each of its runs."""

    records: tuple[Record, ...]


class LayerCard(Schema):
    """How one layer is indexed and how well that finds; milliseconds are of a single query."""

    dimension: int = Field(examples=[8192])
    factory: str = Field(examples=["SVD256,SQ8,Refine(SQfp16)"])
    recall_at_10: float = Field(examples=[0.998])
    milliseconds: RoundedFloat = Field(examples=[0.44])
    exact_milliseconds: RoundedFloat = Field(examples=[16.0])
    candidates: int | None = Field(
        description="Images compared in full for ten answers; null: all.", examples=[120]
    )


class GalleryCard(Schema):
    """What is searched."""

    size: int = Field(examples=[7500])
    added: int = Field(description="How many of them were added to the bundle's.")
    stale: int = Field(
        description="How many of those are still searched by the vectors of another network, and "
        "are being embedded anew."
    )
    pixels: bool = Field(description="Whether /gallery/{id}/image has pictures.")
    layers: dict[str, LayerCard]


class InputCard(Schema):
    """What the network sees."""

    side: int = Field(description="Every picture becomes a square of so many pixels.")
    formats: tuple[str, ...]
    embeddings: dict[str, int] = Field(
        description="Layers of /embed, and the length of their vectors.",
        examples=[{"conv2": 8192, "penultimate": 512, "logits": 10}],
    )


class Limits(Schema):
    """What one request may hold."""

    body_bytes: int
    pixels: int
    images: int
    neighbours: int
    deadline_seconds: float


class NoveltyCard(Schema):
    """When an image counts as familiar."""

    threshold: float = Field(
        description="The novelty up to which it does, so set that 95 % of held-out images do."
    )
    familiar_share: RoundedFloat = Field(
        description="The share of further held-out images that are familiar.", examples=[0.952]
    )
    references: int = Field(description="How many training images it is compared with.")


class ModelCard(Schema):
    """The network, how good it is, and what it is not for."""

    name: str
    version: str
    run_id: str
    created_at: datetime
    classes: tuple[str, ...]
    metrics: Metrics
    dataset: DatasetMetadata
    gallery: GalleryCard
    novelty: NoveltyCard | None = Field(description="null where the bundle cannot tell.")
    engine: str = Field(description="What runs the network, how precisely, and where.")
    input: InputCard
    limits: Limits
    caveats: str = Field(description="What to keep in mind, from the bundle's README.")

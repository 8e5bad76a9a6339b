"""Schemas of `/model` and `/experiments`; they build on the records of `training.bundle`."""

from datetime import datetime

from pydantic import Field

from service.schemas.base import RoundedFloat, Schema
from training.bundle import Comparison, DatasetMetadata, Explanation, Metrics, Record, Summary


class Experiments(Schema):
    """The stored results of the experiments."""

    experiments: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    """Paired tests over seeds: which of the listed experiments differ by more than the seeds do."""


class ExperimentSummary(Summary):
    """One experiment, with the record of each run."""

    records: tuple[Record, ...]


class LayerCard(Schema):
    """How one layer is indexed; its recall, and the milliseconds of a single query."""

    dimension: int = Field(examples=[8192])
    factory: str = Field(examples=["SVD256,SQ8,Refine(SQfp16)"])
    recall_at_10: float = Field(examples=[0.998])
    milliseconds: RoundedFloat = Field(examples=[0.44])
    exact_milliseconds: RoundedFloat = Field(examples=[16.0])
    candidates: int | None = Field(examples=[120])
    """Candidates rescored for ten results; null: every image."""


class GalleryCard(Schema):
    """The gallery that is searched."""

    size: int = Field(examples=[7500])
    added: int
    """Number of images added to those of the bundle."""
    stale: int
    """Number of added images whose vectors another network made; they are being embedded again."""
    pixels: bool
    """Whether /gallery/{id}/image returns images."""
    layers: dict[str, LayerCard]


class NetworkLayerCard(Schema):
    """One layer of the network: where images can be embedded, and at some layers compared."""

    name: str = Field(examples=["conv2"])
    title: str = Field(examples=["Second block: shapes and parts"])
    """What to call the layer where people read it."""
    description: str = Field(examples=["Alike in edges, textures and parts at the same places."])
    """What two images have in common if their vectors are near each other."""
    length: int = Field(examples=[8192])
    shape: tuple[int, ...] = Field(examples=[(128, 8, 8)])
    """Channels, rows and columns, or the length alone."""
    searched: bool
    """Whether the gallery is searched at this layer; the first such layer is the default."""
    explanation: Explanation | None
    """What `explain` divides a score into. `places`: a heat of rows and columns for both images.
    `query_places`: such a heat for the query alone. `classes`: terms, one a class.
    """
    places: tuple[int, int] | None = Field(examples=[(8, 8)])
    """Rows and columns of the heat."""


class InputCard(Schema):
    """The input of the network."""

    side: int
    """Each image is resized to a square with sides of this many pixels."""
    formats: tuple[str, ...]
    embeddings: dict[str, int] = Field(examples=[{"conv2": 8192, "penultimate": 512, "logits": 10}])
    """Layers of /embed, and the dimension of their vectors."""


class Limits(Schema):
    """The limits of one request, and the number of connections."""

    body_bytes: int
    pixels: int
    images: int
    neighbours: int
    deadline_seconds: float
    connections: int


class NoveltyCard(Schema):
    """The statistics by which an image counts as familiar."""

    threshold: float
    """Maximum novelty of a familiar image; 95 % of held-out images are familiar."""
    familiar_share: RoundedFloat = Field(examples=[0.952])
    """Share of other held-out images that are familiar."""
    references: int
    """Number of training images that an image is compared with."""


class LayerMapCard(Schema):
    """How well the map of one layer shows which images are near each other."""

    trustworthiness: RoundedFloat = Field(examples=[0.93])
    """Whether the ten nearest on the map are near at the layer too; 1 is best."""


class MapCard(Schema):
    """The layers with a map, in order from the input."""

    layers: dict[str, LayerMapCard]


class DecoderCard(Schema):
    """How like the held-out images the pictures drawn from their vectors at one layer are."""

    psnr: RoundedFloat = Field(examples=[21.5])
    """In dB, of the mean squared error of all pixels."""
    ssim: RoundedFloat = Field(examples=[0.71])
    """Structural similarity; 1 is best."""


class ReconstructionCard(Schema):
    """The layers with a decoder, in order from the input."""

    layers: dict[str, DecoderCard]


class ModelCard(Schema):
    """The model card: the network, its accuracy, its limits."""

    name: str
    version: str
    run_id: str | None
    """The run that trained the network; null if the bundle has no classes."""
    created_at: datetime
    classes: tuple[str, ...]
    """Empty if the bundle has none: nothing was trained, and images can only be searched."""
    metrics: Metrics | None
    """null if the bundle has no classes."""
    dataset: DatasetMetadata
    gallery: GalleryCard
    novelty: NoveltyCard | None
    """null if the bundle has no novelty statistics."""
    map: MapCard | None
    """null if the bundle has no map."""
    reconstruction: ReconstructionCard | None
    """null if the bundle has no decoders."""
    engine: str
    """Inference backend, precision and device."""
    family: str = Field(examples=["blocknet"])
    """The family of the network: blocknet, trained from the start, or pretrained on ImageNet."""
    input: InputCard
    layers: tuple[NetworkLayerCard, ...]
    """The layers at which images can be embedded, in order from the input."""
    limits: Limits
    caveats: str
    """Known limits of the model, from the bundle's README."""

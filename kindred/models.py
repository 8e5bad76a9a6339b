"""The responses of `/model` and `/experiments` as the client reads them.

The fields that programs use have names; all others are in `model_extra`. Needs no torch, unlike the
service's own schemas of these responses.
"""

from typing import Any

from pydantic import ConfigDict

from service.schemas.base import Schema


class TolerantModel(Schema):
    """Accepts unknown fields: a newer service may send more."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Metrics(TolerantModel):
    """The quality of the network and of its neighbours, on held-out images."""

    validation_accuracy: float | None = None
    test_accuracy: float
    test_count: int
    test_wilson95: tuple[float, float]
    label_share_at_10: dict[str, float]


class GalleryInfo(TolerantModel):
    """The size of the gallery, and the index of each layer with its quality."""

    size: int
    added: int = 0
    stale: int = 0
    pixels: bool
    layers: dict[str, dict[str, Any]]


class Limits(TolerantModel):
    """The limits of one request."""

    body_bytes: int
    images: int


class Model(TolerantModel):
    """The network with its classes, its quality and its limitations."""

    name: str
    version: str
    classes: tuple[str, ...]
    metrics: Metrics | None
    """None if the bundle has no classes."""
    gallery: GalleryInfo
    limits: Limits
    caveats: str


class RunStats(TolerantModel):
    """Mean and standard deviation over the runs of an experiment. `std` is None for one run."""

    mean: float
    std: float | None = None
    n: int


class ExperimentSummary(TolerantModel):
    """One experiment. Accuracies are fractions, times are seconds."""

    name: str
    published_name: str | None = None
    conv_blocks: int
    regularizer: str
    runs: int
    collapsed: int
    validation_accuracy: RunStats | None = None
    test_accuracy: RunStats | None = None
    training_seconds: RunStats | None = None
    machine: str | None = None


class ExperimentRecords(ExperimentSummary):
    """One experiment with the records of its runs, as plain data."""

    records: tuple[dict[str, Any], ...]


class ExperimentList(TolerantModel):
    """All experiments."""

    experiments: tuple[ExperimentSummary, ...]

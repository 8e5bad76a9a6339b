"""What the service says of its network and of the experiments, as a client reads it.

Only what a program is likely to ask for has a name here; all else that was sent is in
`model_extra`. Free of torch, as the service's own types of these are not.
"""

from typing import Any

from pydantic import ConfigDict

from service.schemas.base import Schema


class TolerantModel(Schema):
    """Read with tolerance: a newer service may say more."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Metrics(TolerantModel):
    """How good the network and its neighbours are, on images that trained neither."""

    validation_accuracy: float | None = None
    test_accuracy: float
    test_count: int
    test_wilson95: tuple[float, float]
    label_share_at_10: dict[str, float]


class GalleryInfo(TolerantModel):
    """The gallery: its size, and for each layer how it is searched and how well."""

    size: int
    added: int = 0
    stale: int = 0
    pixels: bool
    layers: dict[str, dict[str, Any]]


class Limits(TolerantModel):
    """What one request may hold."""

    body_bytes: int
    images: int


class Model(TolerantModel):
    """The network, how good it is, and what it is not for."""

    name: str
    version: str
    classes: tuple[str, ...]
    metrics: Metrics
    gallery: GalleryInfo
    limits: Limits
    caveats: str


class RunStats(TolerantModel):
    """Over the runs of an experiment; no standard deviation where there was one."""

    mean: float
    std: float | None = None
    n: int


class ExperimentSummary(TolerantModel):
    """One experiment: accuracies as fractions, times in seconds."""

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
    """One experiment with the record of each of its runs, as plain data."""

    records: tuple[dict[str, Any], ...]


class ExperimentList(TolerantModel):
    """All experiments."""

    experiments: tuple[ExperimentSummary, ...]

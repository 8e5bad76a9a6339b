"""What the service says of its network and of the experiments, as a client reads it.

Only what a program is likely to ask for has a name here; all else that was sent is in
`model_extra`. Free of torch, as the service's own types of these are not.
"""

from typing import Any

from pydantic import ConfigDict

from service.schemas.base import Wire


class Card(Wire):
    """Read with tolerance: a newer service may say more."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Metrics(Card):
    """How good the network and its neighbours are, on images that trained neither."""

    validation_accuracy: float | None = None
    test_accuracy: float
    test_count: int
    test_wilson95: tuple[float, float]
    label_share_at_10: dict[str, float]


class Searched(Card):
    """The gallery: its size, and for each layer how it is searched and how well."""

    size: int
    added: int = 0
    stale: int = 0
    pixels: bool
    layers: dict[str, dict[str, Any]]


class Limits(Card):
    """What one request may hold."""

    body_bytes: int
    images: int


class Model(Card):
    """The network, how good it is, and what it is not for."""

    name: str
    version: str
    classes: tuple[str, ...]
    metrics: Metrics
    gallery: Searched
    limits: Limits
    caveats: str


class Spread(Card):
    """Over the runs of an experiment; no standard deviation where there was one."""

    mean: float
    std: float | None = None
    n: int


class ExperimentSummary(Card):
    """One experiment: accuracies as fractions, times in seconds."""

    name: str
    published_name: str | None = None
    conv_blocks: int
    regularizer: str
    runs: int
    collapsed: int
    validation_accuracy: Spread | None = None
    test_accuracy: Spread | None = None
    training_seconds: Spread | None = None
    machine: str | None = None


class ExperimentRecords(ExperimentSummary):
    """One experiment with the record of each of its runs, as plain data."""

    records: tuple[dict[str, Any], ...]


class ExperimentList(Card):
    """All experiments."""

    experiments: tuple[ExperimentSummary, ...]

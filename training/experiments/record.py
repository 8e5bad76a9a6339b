"""What one run leaves behind, one JSON file a run. Accuracies are fractions, times seconds.

What several runs say together is in `summary`. Knows nothing of tensors.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from training.base_model import Frozen
from training.experiments.config import Config, Experiment, Published, Regularizer, Variant
from training.models.calibration import Calibration

SCHEMA_VERSION: Literal[1] = 1
MATRIX_CLASSES = 100
"""Up to so many classes, a confusion matrix is kept whole."""

Status = Literal["finished", "failed", "collapsed"]
Stage = Literal["study", "final"]


class RecordError(RuntimeError):
    """A record on disk is not one; the message names the file and the field."""


class Seeds(Frozen):
    """One seed for each thing that is drawn."""

    split: int
    init: int
    order: int
    augment: int


class SplitRef(Frozen):
    """Which images a part of the data was, without listing them."""

    count: int
    indices_sha256: str


class DatasetRef(Frozen):
    """Which data set, and which images of it did what."""

    name: str
    fingerprint: str
    splits: dict[str, SplitRef]
    classes: tuple[str, ...] = ()


class Environment(Frozen):
    """Where a run took place, and beside how many others.

    `cpu_capability` is the widest instructions that PyTorch found, such as AVX2 or AVX512: one
    processor's name may stand for several. Records before 2026-11-26 lack it.
    """

    git_commit: str | None
    python: str
    torch: str
    cuda: str | None
    cpu_model: str
    threads: int
    gpu_name: str | None
    concurrent_runs: int
    cpu_capability: str | None = None

    @property
    def processor(self) -> str:
        """The CPU, in words."""
        found = self.cpu_capability
        return f"{self.cpu_model} ({found})" if found else self.cpu_model

    @property
    def machine(self) -> str:
        """What did the work, in words."""
        return self.gpu_name or f"{self.processor}, {self.threads} threads"


class Timing(Frozen):
    """Seconds. `train` counts the steps alone: set-up, warm-up and evaluation stand beside it."""

    setup: float
    warmup: float
    train: float
    evaluate: float
    images_per_second: float
    peak_memory_bytes: int


class Epoch(Frozen):
    """One pass over the training images; its seconds are those of the training steps."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


class Evaluation(Frozen):
    """How a network does on images it was not trained on; counted over images, not batches.

    `confusion_matrix[i][j]` is how many images of class i were taken for class j. Of more than 100
    classes there is none, since hardly a cell of it is filled: `confusions` has those that are, as
    (i, j, how many).
    """

    count: int
    loss: float
    accuracy: float
    wilson95: tuple[float, float]
    confusion_matrix: tuple[tuple[int, ...], ...] | None
    confusions: tuple[tuple[int, int, int], ...] = ()
    rows: Literal["true"] = "true"

    @property
    def taken(self) -> dict[int, dict[int, int]]:
        """Of each true class, how many images were taken for which: what is not 0."""
        cells: Iterable[tuple[int, int, int]] = self.confusions
        if self.confusion_matrix is not None:
            cells = (
                (true, other, count)
                for true, row in enumerate(self.confusion_matrix)
                for other, count in enumerate(row)
            )
        found: dict[int, dict[int, int]] = {}
        for true, other, count in cells:
            if count:
                found.setdefault(true, {})[other] = count
        return found


class Diagnostics(Frozen):
    """Signs of a network that does not learn.

    By layer: `weight_norm` is the norm of its weights, `gradient_norm` that of the loss's gradient
    at the end. L2 decay adds the weight decay times `weight_norm` to what the optimizer sees.
    Records of before they were kept have neither.
    """

    logit_std: float
    dead_fraction: dict[str, float]
    constant_output: bool
    weight_norm: dict[str, float] = Field(default_factory=dict)
    gradient_norm: dict[str, float] = Field(default_factory=dict)


class Ranking(Frozen):
    """How good a ranking of the others is, averaged over queries.

    `precision_at_10` is the share of the ten nearest with the query's own label;
    `mean_average_precision` counts the whole ranking.
    """

    precision_at_10: float
    mean_average_precision: float


class LayerRetrieval(Frozen):
    """Rankings by cosine at one layer: over all queries, and by class, in the order of classes."""

    dimension: int
    queries: int
    gallery: int
    overall: Ranking
    by_class: tuple[Ranking | None, ...]


class Record(Frozen):
    """One run: what was asked, where it ran, what came of it.

    A final run also has `retrieval`, among its test images, and `own_test`, the evaluation on the
    test images that the data set itself sets apart, where it does. The loss of `own_test` is that
    of calibrated probabilities; all others are those before, and `calibration` has both.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    experiment: str
    published_name: str | None
    regularizer: Regularizer
    group_id: str
    status: Status
    error: str | None = None
    stage: Stage
    started_at: datetime
    variant: Variant
    config: Config
    seeds: Seeds
    dataset: DatasetRef
    environment: Environment
    timing: Timing | None = None
    curves: tuple[Epoch, ...] = ()
    test: Evaluation | None = None
    calibration: Calibration | None = None
    own_test: Evaluation | None = None
    retrieval: dict[str, LayerRetrieval] | None = None
    diagnostics: Diagnostics | None = None
    published: Published | None = None

    @property
    def validation_accuracy(self) -> float | None:
        """At the last epoch: nothing is chosen by looking at the others."""
        return self.curves[-1].validation_accuracy if self.curves else None

    @property
    def machine(self) -> str:
        """What did the work, and how precisely: seconds compare on one such machine alone."""
        return f"{self.environment.machine}, {self.config.precision}"

    @property
    def settings(self) -> Experiment:
        """The experiment that was run, to be run again."""
        return Experiment(
            name=self.experiment,
            published_name=self.published_name,
            regularizer=self.regularizer,
            variant=self.variant,
            config=self.config,
            published=self.published,
        )

    def same_images(self, other: "Record") -> bool:
        """Whether both runs trained, chose and tested with the same images."""
        mine, theirs = self.dataset, other.dataset
        return (mine.fingerprint, mine.splits) == (theirs.fingerprint, theirs.splits)


def wilson95(correct: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson, 1927)."""
    z = 1.959963984540054
    share = correct / count
    centre = share + z**2 / (2 * count)
    margin = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return (centre - margin) / scale, (centre + margin) / scale


def write(record: Record, folder: Path) -> Path:
    """Write `<run_id>.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.run_id}.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
    return file


def read(file: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: not there, or not a record of this schema version.

    """
    try:
        return Record.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{file} is not a record of version {SCHEMA_VERSION}: {error}") from error


def read_all(folder: Path) -> tuple[Record, ...]:
    """Every record in a folder, oldest first; none where there is no folder."""
    records = (read(file) for file in sorted(folder.glob("*.json")))
    return tuple(sorted(records, key=lambda record: record.started_at))

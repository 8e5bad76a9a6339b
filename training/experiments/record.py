"""The record of a run, as one JSON file. Accuracies are fractions, times are in seconds.

`aggregate` summarizes several records. Knows nothing of tensors.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from training.base_model import Frozen
from training.experiments.config import Config, Experiment, Published, Regularizer, Variant
from training.models.measurements import Calibration

SCHEMA_VERSION: Literal[1] = 1
MATRIX_CLASSES = 100
"""Maximum number of classes for which a record has the full confusion matrix."""

Status = Literal["finished", "failed", "collapsed"]
Stage = Literal["study", "final"]


class RecordError(RuntimeError):
    """Raised if a file is not a valid record; the message names the file and the field."""


class Seeds(Frozen):
    """The seeds of the split, the initial weights, the image order and the augmentation."""

    split: int
    init: int
    order: int
    augment: int


class SplitRef(Frozen):
    """The size and the hash of one part of a data set."""

    count: int
    indices_sha256: str


class DatasetRef(Frozen):
    """The data set of a run, and the images of each of its splits."""

    name: str
    fingerprint: str
    splits: dict[str, SplitRef]
    classes: tuple[str, ...] = ()


class Environment(Frozen):
    """The machine and the software of a run, and the number of runs at the same time.

    `cpu_capability` is the widest instruction set that PyTorch found, such as AVX2 or AVX512, since
    processors with the same name may differ. Records before 2026-11-26 lack it.
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
        """Name and instruction set of the CPU."""
        found = self.cpu_capability
        return f"{self.cpu_model} ({found})" if found else self.cpu_model

    @property
    def machine(self) -> str:
        """Name of the GPU, or of the CPU with its number of threads."""
        return self.gpu_name or f"{self.processor}, {self.threads} threads"


class Timing(Frozen):
    """Seconds of each phase. `train` is the training steps alone, without the other phases."""

    setup: float
    warmup: float
    train: float
    evaluate: float
    images_per_second: float
    peak_memory_bytes: int


class Epoch(Frozen):
    """The metrics of one epoch; `seconds` is the time of its training steps."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


class Evaluation(Frozen):
    """The accuracy of a network on held-out images, counted over images, not batches.

    `confusion_matrix[i][j]` is the number of images of class i that were predicted as class j. With
    more than 100 classes it is None, and `confusions` has its non-zero cells as (i, j, count).
    """

    count: int
    loss: float
    accuracy: float
    wilson95: tuple[float, float]
    confusion_matrix: tuple[tuple[int, ...], ...] | None
    confusions: tuple[tuple[int, int, int], ...] = ()
    rows: Literal["true"] = "true"

    @property
    def confusion_counts(self) -> dict[int, dict[int, int]]:
        """Non-zero cells of the confusion matrix: true class, predicted class, count."""
        cells: Iterable[tuple[int, int, int]] = self.confusions
        if self.confusion_matrix is not None:
            cells = (
                (true, predicted, count)
                for true, row in enumerate(self.confusion_matrix)
                for predicted, count in enumerate(row)
            )
        found: dict[int, dict[int, int]] = {}
        for true, predicted, count in cells:
            if count:
                found.setdefault(true, {})[predicted] = count
        return found


class Diagnostics(Frozen):
    """Measurements that show whether a network learns.

    `weight_norm` is the norm of each layer's weights. `gradient_norm` is the norm of the loss's
    gradient after training. L2 decay adds the weight decay times the weights to that gradient.
    Early records have neither.
    """

    logit_std: float
    dead_fraction: dict[str, float]
    constant_output: bool
    weight_norm: dict[str, float] = Field(default_factory=dict)
    gradient_norm: dict[str, float] = Field(default_factory=dict)


class Ranking(Frozen):
    """Retrieval metrics, averaged over queries.

    `precision_at_10` is the share of the ten nearest with the query's label.
    `mean_average_precision` is over the whole ranking.
    """

    precision_at_10: float
    mean_average_precision: float


class LayerRetrieval(Frozen):
    """Retrieval metrics of one layer, over all queries and by class, in the order of classes."""

    dimension: int
    queries: int
    gallery: int
    overall: Ranking
    by_class: tuple[Ranking | None, ...]


class NearDuplicates(Frozen):
    """The test images with a near-duplicate among the images that the network was trained on.

    `count` is their number, by a score of at least `threshold`. The accuracies are those on these
    test images (None if there are none) and on the others (None if there are no others).
    """

    count: int
    threshold: float
    accuracy_with: float | None
    accuracy_without: float | None


class Record(Frozen):
    """One run: its settings, its environment and its results.

    `teacher` is the id of the run whose network taught this one, a study on the same split.
    `validation` is a study's evaluation at fp32 after training; that of `curves` is at the
    precision of the training, and earlier records have it alone.
    A final run also has `near_duplicates` and `retrieval`, over its test images. If the data set
    provides test images of its own, it has `own_test`. The loss of `own_test` is after calibration,
    all other losses are before it; `calibration` has both.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    experiment: str
    published_name: str | None
    regularizer: Regularizer
    teacher: str | None = None
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
    validation: Evaluation | None = None
    test: Evaluation | None = None
    calibration: Calibration | None = None
    own_test: Evaluation | None = None
    near_duplicates: NearDuplicates | None = None
    retrieval: dict[str, LayerRetrieval] | None = None
    diagnostics: Diagnostics | None = None
    published: Published | None = None

    @property
    def validation_accuracy(self) -> float | None:
        """Validation accuracy of the last epoch, or None; no epoch is chosen by it."""
        return self.curves[-1].validation_accuracy if self.curves else None

    @property
    def machine(self) -> str:
        """Machine and precision; times are comparable only if both are the same."""
        return f"{self.environment.machine}, {self.config.precision}"

    @property
    def settings(self) -> Experiment:
        """The experiment with the settings of this run."""
        return Experiment(
            name=self.experiment,
            published_name=self.published_name,
            regularizer=self.regularizer,
            variant=self.variant,
            config=self.config,
            published=self.published,
        )

    def same_images(self, other: "Record") -> bool:
        """Return whether both runs trained, validated and tested on the same images."""
        mine, theirs = self.dataset, other.dataset
        return (mine.fingerprint, mine.splits) == (theirs.fingerprint, theirs.splits)


def wilson95(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927)."""
    z = 1.959963984540054
    share = correct / count
    centre = share + z**2 / (2 * count)
    margin = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return (centre - margin) / scale, (centre + margin) / scale


def write(record: Record, folder: Path) -> Path:
    """Write `<run_id>.json` atomically and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.run_id}.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
    return file


def read(file: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: the file is missing, or is not a record of this schema version.

    """
    try:
        return Record.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{file} is not a record of version {SCHEMA_VERSION}: {error}") from error


def read_all(folder: Path) -> tuple[Record, ...]:
    """Read all records of a folder, the oldest first; a missing folder has none.

    Raises:
        RecordError: a file is not a record of this schema version.

    """
    records = (read(file) for file in sorted(folder.glob("*.json")))
    return tuple(sorted(records, key=lambda record: record.started_at))

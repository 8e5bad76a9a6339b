"""What one run leaves behind, one JSON file a run, and what several runs say together.

Accuracies are fractions, times seconds. Groups are derived on reading, never stored. Knows nothing
of tensors.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from training.calibration import Calibration
from training.experiments import Config, Published, Regularizer, Variant
from training.frozen import Frozen

SCHEMA_VERSION: Literal[1] = 1

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
    """Where a run took place, and beside how many others."""

    git_commit: str | None
    python: str
    torch: str
    cuda: str | None
    cpu_model: str
    threads: int
    gpu_name: str | None
    concurrent_runs: int


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

    `confusion_matrix[i][j]` is how many images of class i were taken for class j.
    """

    count: int
    loss: float
    accuracy: float
    wilson95: tuple[float, float]
    confusion_matrix: tuple[tuple[int, ...], ...]
    rows: Literal["true"] = "true"


class Diagnostics(Frozen):
    """Signs of a network that does not learn."""

    logit_std: float
    dead_fraction: dict[str, float]
    constant_output: bool


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


class Spread(Frozen):
    """Mean, sample standard deviation (ddof 1; none for one run) and range over `n` runs."""

    mean: float
    std: float | None
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            min=min(values),
            max=max(values),
            n=len(values),
        )


class Summary(Frozen):
    """The study runs of one experiment together, beside what was published of it."""

    name: str
    published_name: str | None
    conv_blocks: int
    regularizer: Regularizer
    group_id: str
    runs: int
    collapsed: int
    validation_accuracy: Spread | None
    test_accuracy: Spread | None
    training_seconds: Spread | None
    published: Published | None


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


def summarize(records: Iterable[Record]) -> tuple[Summary, ...]:
    """One summary an experiment, over its finished and collapsed study runs, in order of name.

    Where an experiment's settings or data changed between runs, its latest settings count.
    """
    by_name: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.started_at):
        if record.stage == "study" and record.status != "failed":
            by_name.setdefault(record.experiment, []).append(record)
    return tuple(_summarize_one(by_name[name]) for name in sorted(by_name))


def _summarize_one(records: Sequence[Record]) -> Summary:
    latest = records[-1]
    group = [record for record in records if record.group_id == latest.group_id]
    return Summary(
        name=latest.experiment,
        published_name=latest.published_name,
        conv_blocks=latest.variant.conv_blocks,
        regularizer=latest.regularizer,
        group_id=latest.group_id,
        runs=len(group),
        collapsed=sum(record.status == "collapsed" for record in group),
        validation_accuracy=_spread(record.validation_accuracy for record in group),
        test_accuracy=_spread(record.test.accuracy if record.test else None for record in group),
        training_seconds=_spread(
            record.timing.train if record.timing else None for record in group
        ),
        published=latest.published,
    )


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None

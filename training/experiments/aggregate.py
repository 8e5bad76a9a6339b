"""Groups the runs of an experiment and summarizes them: mean, standard deviation, range.

Summaries are computed from records and never stored. The report, the service and the release all
use this module, so their figures agree. Knows records alone.
"""

import statistics
from collections.abc import Iterable, Sequence

from training.base_model import Frozen
from training.experiments.config import Published, Regularizer
from training.experiments.record import Record


class RunStats(Frozen):
    """Mean, sample standard deviation (ddof 1; None for one run) and range over `n` runs."""

    mean: float
    std: float | None
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "RunStats":
        """Compute the statistics of at least one value."""
        return cls(
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            min=min(values),
            max=max(values),
            n=len(values),
        )


class Summary(Frozen):
    """Summarizes the study runs of one experiment, with its published figures.

    Accuracies are over the runs that learned, which are all but `collapsed` of the `runs`. Seconds
    are over the complete runs on the latest machine: times of different machines are not averaged.
    """

    name: str
    published_name: str | None
    conv_blocks: int
    regularizer: Regularizer
    group_id: str
    runs: int
    collapsed: int
    validation_accuracy: RunStats | None
    test_accuracy: RunStats | None
    training_seconds: RunStats | None
    machine: str | None = None
    published: Published | None


def group_runs(records: Iterable[Record]) -> dict[str, tuple[Record, ...]]:
    """Select the study runs to compare, by experiment in order of name, the oldest first.

    All use the images and the split of the latest study, since accuracies on different images are
    not comparable. If an experiment's settings have changed, only runs with its latest settings
    are selected. Failed runs are left out.
    """
    studies = sorted(
        (one for one in records if one.stage == "study" and one.status != "failed"),
        key=lambda one: one.started_at,
    )
    by_name: dict[str, list[Record]] = {}
    for one in studies:
        if one.same_images(studies[-1]):
            by_name.setdefault(one.experiment, []).append(one)
    return {
        name: tuple(one for one in runs if one.group_id == runs[-1].group_id)
        for name, runs in sorted(by_name.items())
    }


def summarize(records: Iterable[Record]) -> tuple[Summary, ...]:
    """Return one summary per experiment, over the runs of `group_runs`, in order of name."""
    return tuple(_summarize_one(runs) for runs in group_runs(records).values())


def seconds(runs: Iterable[Record]) -> dict[str, RunStats]:
    """Summarize the training seconds of complete runs by machine and precision.

    Runs that were stopped early, or that shared the processor with other programs, are left out.
    The machine of the latest run comes last.
    """
    found: dict[str, list[float]] = {}
    for one in runs:
        alone = one.environment.concurrent_runs == 1
        if alone and one.timing and len(one.curves) == one.config.epochs:
            earlier = found.pop(one.machine, [])
            found[one.machine] = [*earlier, one.timing.train]
    return {machine: RunStats.of(values) for machine, values in found.items()}


def _summarize_one(runs: Sequence[Record]) -> Summary:
    latest = runs[-1]
    learned = [one for one in runs if one.status != "collapsed"]
    machine, training_seconds = next(reversed(seconds(runs).items()), (None, None))
    return Summary(
        name=latest.experiment,
        published_name=latest.published_name,
        conv_blocks=latest.variant.conv_blocks,
        regularizer=latest.regularizer,
        group_id=latest.group_id,
        runs=len(runs),
        collapsed=len(runs) - len(learned),
        validation_accuracy=_run_stats(one.validation_accuracy for one in learned),
        test_accuracy=_run_stats(one.test.accuracy if one.test else None for one in learned),
        training_seconds=training_seconds,
        machine=machine,
        published=latest.published,
    )


def _run_stats(values: Iterable[float | None]) -> RunStats | None:
    known = [value for value in values if value is not None]
    return RunStats.of(known) if known else None

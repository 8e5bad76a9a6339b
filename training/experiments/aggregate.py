"""What several runs say together: which of them are repeats, their mean and their spread.

Derived on reading, never stored. The report, the service and the choice of what is released all
come through here, so that they cannot disagree. Knows records alone.
"""

import statistics
from collections.abc import Iterable, Sequence

from training.base_model import Frozen
from training.experiments.config import Published, Regularizer
from training.experiments.record import Record


class RunStats(Frozen):
    """Mean, sample standard deviation (ddof 1; none for one run) and range over `n` runs."""

    mean: float
    std: float | None
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "RunStats":
        """Of at least one value."""
        return cls(
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            min=min(values),
            max=max(values),
            n=len(values),
        )


class Summary(Frozen):
    """The study runs of one experiment together, beside what was published of it.

    Accuracies are over the runs that learned: `collapsed` of the `runs` did not. Seconds are over
    whole runs on one machine, the latest, since seconds on two machines have no mean.
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
    """The study runs that count, by experiment in order of name, the oldest first.

    All are on the images that the latest study had, split as it split them: accuracies on different
    images have no mean. Where an experiment's settings changed, the latest count. Failed runs do
    not.
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
    """One summary an experiment, over the runs that count, in order of name."""
    return tuple(_summarize_one(runs) for runs in group_runs(records).values())


def seconds(runs: Iterable[Record]) -> dict[str, RunStats]:
    """Training seconds of whole runs by the machine, and precision, that they ran on.

    A run that was given up early took less; the machine of the latest run comes last.
    """
    found: dict[str, list[float]] = {}
    for one in runs:
        if one.timing and len(one.curves) == one.config.epochs:
            earlier = found.pop(one.machine, [])
            found[one.machine] = [*earlier, one.timing.train]
    return {machine: RunStats.of(values) for machine, values in found.items()}


def _summarize_one(runs: Sequence[Record]) -> Summary:
    latest = runs[-1]
    learned = [one for one in runs if one.status != "collapsed"]
    machine, taken = next(reversed(seconds(runs).items()), (None, None))
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
        training_seconds=taken,
        machine=machine,
        published=latest.published,
    )


def _run_stats(values: Iterable[float | None]) -> RunStats | None:
    known = [value for value in values if value is not None]
    return RunStats.of(known) if known else None

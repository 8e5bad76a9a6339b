"""Compares experiments by a paired test over seeds: is a difference larger than the seeds' own?

Two runs with the same seed have the same image order, so their difference is taken seed by seed.
Computed from records and never stored, like `aggregate`.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from training.base_model import Frozen
from training.experiments.aggregate import group_runs
from training.experiments.record import Record

SIGNIFICANT = 0.05
"""A difference counts as larger than the seeds' own below this probability."""
MINIMUM_SEEDS = 3
"""Common seeds that a test needs."""


class Comparison(Frozen):
    """The test accuracies of two experiments, over the seeds with which both learned.

    `difference` is the mean of the first less the second, `std` the sample standard deviation of
    the differences. `p` is that of the two-sided paired t-test; `p_corrected` is corrected for the
    number of comparisons (Holm, 1979). Both are None with fewer than 3 seeds. `collapsed` counts
    the seeds that were left out because either run collapsed.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    collapsed: int
    difference: float
    std: float | None
    p: float | None
    p_corrected: float | None = None
    words: str = ""


def compare(records: Iterable[Record]) -> tuple[Comparison, ...]:
    """Compare the experiments that answer one question each, over the runs of `group_runs`.

    The questions are whether a regularizer differs from none, and 3 blocks from 2. A pair without
    a common seed is left out.
    """
    runs = group_runs(records)
    found = [
        made
        for one, other in combinations(runs.values(), 2)
        if _comparable(one[-1], other[-1])
        and (made := _compare_two(*sorted((one, other), key=_rank)))
    ]
    return tuple(_in_words(one) for one in _correct(found))


def _rank(runs: Sequence[Record]) -> tuple[bool, int]:
    """Order a pair: what is added comes first, the baseline second."""
    return runs[-1].regularizer == "none", -runs[-1].variant.conv_blocks


def _comparable(one: Record, other: Record) -> bool:
    """Return whether two experiments differ in one thing: a regularizer, or a block."""
    kinds = {one.regularizer, other.regularizer}
    same_depth = one.variant.conv_blocks == other.variant.conv_blocks
    if "combined" in kinds:
        return False
    return (same_depth and "none" in kinds) or (not same_depth and len(kinds) == 1)


def _compare_two(first: Sequence[Record], second: Sequence[Record]) -> Comparison | None:
    ours, theirs = _by_seed(first), _by_seed(second)
    common = sorted(ours.keys() & theirs.keys())
    pairs = {seed: (ours[seed], theirs[seed]) for seed in common}
    differences = {
        seed: one - other for seed, (one, other) in pairs.items() if one is not None and other
    }
    if not differences:
        return None
    values = list(differences.values())
    mean, std = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    tested = std is not None and len(values) >= MINIMUM_SEEDS
    return Comparison(
        first=first[-1].experiment,
        second=second[-1].experiment,
        seeds=tuple(differences),
        collapsed=len(common) - len(differences),
        difference=mean,
        std=std,
        p=_paired_p(mean, std, len(values)) if tested and std is not None else None,
    )


def _by_seed(runs: Iterable[Record]) -> Mapping[int, float | None]:
    """Return the test accuracy of each seed, None if the run collapsed."""
    return {
        one.seeds.init: one.test.accuracy if one.status != "collapsed" else None
        for one in runs
        if one.test
    }


def _paired_p(mean: float, std: float, count: int) -> float:
    if std == 0:
        return float(mean == 0)
    return student_p(mean / (std / math.sqrt(count)), count - 1)


def student_p(t: float, degrees: int) -> float:
    """Return the two-sided probability of |t| under Student's distribution.

    The sums for whole degrees of freedom are those of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    square = math.cos(angle) ** 2
    if degrees % 2:
        term, total = math.cos(angle), 0.0
        for number in range(1, degrees, 2):
            total += term
            term *= square * (number + 1) / (number + 2)
        inside = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        term, total = 1.0, 0.0
        for number in range(0, degrees, 2):
            total += term
            term *= square * (number + 1) / (number + 2)
        inside = math.sin(angle) * total
    return max(0.0, 1 - inside)


def _correct(found: Sequence[Comparison]) -> list[Comparison]:
    """Add Holm's correction for the number of tests."""
    tested = sorted((one.p, number) for number, one in enumerate(found) if one.p is not None)
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, (p, number) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        corrected[number] = highest
    return [
        one.model_copy(update={"p_corrected": corrected.get(number)})
        for number, one in enumerate(found)
    ]


def _in_words(one: Comparison) -> Comparison:
    return one.model_copy(update={"words": f"{_difference(one)}: {_verdict(one)}."})


def _difference(one: Comparison) -> str:
    points = abs(one.difference) * 100
    direction = "above" if one.difference >= 0 else "below"
    seeds = f"{len(one.seeds)} seed{'s' if len(one.seeds) > 1 else ''}"
    note = f", {one.collapsed} left out because a run collapsed" if one.collapsed else ""
    return f"{one.first} is {points:.2f} points {direction} {one.second} over {seeds}{note}"


def _verdict(one: Comparison) -> str:
    if one.p is None or one.p_corrected is None:
        return f"too few seeds to test, which needs {MINIMUM_SEEDS}"
    if one.p_corrected < SIGNIFICANT:
        return f"larger than the seeds' own differences (p = {one.p_corrected:.3f}, corrected)"
    if one.p < SIGNIFICANT:
        return (
            f"larger than the seeds' own differences by itself (p = {one.p:.3f}), but not after "
            f"correction for all comparisons (p = {one.p_corrected:.2f})"
        )
    return f"not larger than the seeds' own differences (p = {one.p:.2f})"

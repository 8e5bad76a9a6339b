"""Tests of the paired comparisons of experiments over seeds."""

import pytest

from tests.support.factories import made_record
from training.experiments.comparison import compare, student_p
from training.experiments.record import Record


def runs(name: str, *accuracies: float | None) -> list[Record]:
    """Return a run for each seed; None stands for a run that collapsed."""
    return [
        made_record(name, test=0.1 if one is None else one, seed=seed)
        if one is not None
        else made_record(name, test=0.1, seed=seed, status="collapsed")
        for seed, one in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("t", "degrees", "p"),  # from tables of the distribution
    [
        (12.706, 1, 0.05),
        (4.303, 2, 0.05),
        (3.182, 3, 0.05),
        (2.776, 4, 0.05),
        (9.925, 2, 0.01),
        (4.604, 4, 0.01),
        (-2.571, 5, 0.05),
        (0.0, 7, 1.0),
    ],
)
def test_probabilities_are_those_of_students_tables(t: float, degrees: int, p: float) -> None:
    assert student_p(t, degrees) == pytest.approx(p, rel=2e-3)


def test_a_steady_difference_is_larger_than_the_seeds_own() -> None:
    better, plain = runs("batchnorm-2", 0.75, 0.73, 0.77), runs("none-2", 0.70, 0.681, 0.719)
    (found,) = compare([*better, *plain])
    assert (found.first, found.second, found.seeds) == ("batchnorm-2", "none-2", (0, 1, 2))
    assert found.difference == pytest.approx(0.05)
    assert found.p is not None
    assert found.p < 0.001
    assert "5.00 points above none-2" in found.words
    assert "larger than the seeds' own differences" in found.words


def test_seeds_are_paired() -> None:
    """The seeds differ by far more than the experiments, which differ by the same each time."""
    better, plain = runs("dropout-2", 0.61, 0.72, 0.82), runs("none-2", 0.60, 0.71, 0.80)
    (found,) = compare([*better, *plain])
    assert found.std == pytest.approx(0.0058, abs=1e-4)


def test_a_difference_that_the_seeds_explain_is_said_to_be_none() -> None:
    (found,) = compare([*runs("dropout-2", 0.70, 0.74, 0.72), *runs("none-2", 0.73, 0.70, 0.71)])
    assert "not larger than the seeds' own differences" in found.words


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [*runs("batchnorm-2", 0.7, 0.71, 0.73), *runs("none-2", 0.6, 0.62, 0.61)]
    assert compare(records) == compare(records[::-1])


def test_two_seeds_are_too_few_to_test() -> None:
    (found,) = compare([*runs("dropout-2", 0.70, 0.74), *runs("none-2", 0.73, 0.70)])
    assert (found.p, found.p_corrected) == (None, None)
    assert "too few seeds to test" in found.words


def test_a_seed_whose_run_collapsed_is_counted_and_left_out() -> None:
    (found,) = compare(
        [*runs("dropout-3", 0.7, None, 0.72, 0.71), *runs("none-3", 0.69, 0.7, 0.70, None)]
    )
    assert (found.seeds, found.collapsed) == ((0, 2), 2)
    assert "2 left out because a run collapsed" in found.words


def test_without_a_common_seed_there_is_no_comparison() -> None:
    assert compare([*runs("dropout-3", 0.7), *runs("none-3", None, 0.7)]) == ()


def test_only_pairs_that_differ_in_one_thing_are_compared() -> None:
    names = ("none-2", "none-3", "dropout-2", "dropout-3", "batchnorm-2", "best-3")
    records = [one for name in names for one in runs(name, 0.7, 0.71, 0.72)]
    assert {(one.first, one.second) for one in compare(records)} == {
        ("dropout-2", "none-2"),
        ("batchnorm-2", "none-2"),
        ("dropout-3", "none-3"),
        ("none-3", "none-2"),
        ("dropout-3", "dropout-2"),
    }


def test_more_comparisons_need_clearer_differences() -> None:
    """Holm's correction: the smallest of two probabilities is doubled, the other stays."""
    records = [
        *runs("batchnorm-2", 0.75, 0.73, 0.77),
        *runs("dropout-2", 0.71, 0.70, 0.75),
        *runs("none-2", 0.70, 0.68, 0.73),
    ]
    first, second = sorted(compare(records), key=lambda one: one.p or 0)
    assert first.p_corrected == pytest.approx(2 * (first.p or 0))
    assert second.p_corrected == pytest.approx(max(second.p or 0, first.p_corrected or 0))

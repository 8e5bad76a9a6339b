"""Tests of the comparison with people's judgements, on small made-up judgements."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import human
from benchmarks.human import Judged, average_precision, best_of_each, rank_correlation
from training.workflows.near_duplicates import Pairs

LIST = "TestID,TrainID,Distance,Judgment\n7,40,0.1,1\n3,41,0.2,2\n"


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    file = tmp_path / "near-duplicates.csv"
    file.write_text(LIST, encoding="utf-8")
    return Judged.read(file)


def pairs(*found: tuple[int, int, float]) -> Pairs:
    first, second, score = zip(*found, strict=True)
    return Pairs(np.array(first), np.array(second), np.array(score, np.float32))


def test_the_list_has_positions_and_judgements(judged: Judged) -> None:
    assert judged.test.tolist() == [7, 3]
    assert judged.train.tolist() == [40, 41]
    assert judged.near_duplicate.tolist() == [True, False]


def test_average_precision_counts_items_that_were_not_ranked() -> None:
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx((1 + 2 / 3) / 4)


def test_rank_correlation_depends_on_order_alone_and_shares_ranks() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    tied = np.array([1.0, 2.0, 2.0, 3.0])  # ranks 1, 2.5, 2.5, 4
    assert rank_correlation(values, tied) == pytest.approx(0.9487, abs=1e-4)


def test_each_image_counts_once_with_its_best_pair() -> None:
    best = best_of_each(pairs((7, 40, 0.9), (3, 41, 0.8), (7, 44, 0.7)))
    assert list(zip(best.first.tolist(), best.second.tolist(), strict=True)) == [(7, 40), (3, 41)]


def test_pairs_that_were_looked_at_are_counted_if_they_are_found(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "looked_at.csv"
    file.write_text("TestID,TrainID,same\n1,50,1\n2,51,0\n9,52,1\n", encoding="utf-8")
    monkeypatch.setattr(human, "LOOKED_AT", file)
    said = human.looked_at(pairs((7, 40, 0.9), (1, 50, 0.85), (2, 51, 0.8)), judged)
    assert "Beyond the list, 2 test images" in said
    assert "looked at 2 of them drawn at random, and 1 are true pairs" in said


def test_doubt_equal_to_that_of_people_has_no_excess() -> None:
    people = np.array([[48.0, 1.0, 1.0], [20.0, 20.0, 10.0], [1.0, 40.0, 9.0]])
    shares = people / people.sum(1, keepdims=True)
    (table, _) = human.doubt_tables(np.log(shares), np.array([0, 1, 1]), people)
    values = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert (
        values["cross entropy to people's answers"]
        == values["lowest possible: entropy of people's answers"]
    )
    assert values["rank correlation of the entropies"] == "1.000"
    assert values["accuracy"] == "0.6667"

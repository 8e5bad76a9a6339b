"""Tests of the measurement of flipped labels, with judgements that are made up."""

import numpy as np

from benchmarks.training.labels import shares_found, train_split
from tests.support.factories import tiny
from training.data.splits import split
from training.workflows.labels import Judgement


def test_only_images_of_the_train_split_are_judged() -> None:
    made = tiny(per_class=8)
    kept = train_split(made)
    assert set(kept.ids) == {made.ids[position] for position in split(made, 0).train}
    assert len(kept.images) == len(kept.labels) == len(kept)


def test_each_ranking_is_measured_by_itself() -> None:
    labels = np.zeros(10, np.int64)
    sure = np.tile(np.array([[0.9, 0.1]], np.float32), (10, 1))
    doubtful = sure.copy()
    doubtful[3] = 0.0, 1.0
    found = shares_found(Judgement(network=sure, neighbours=doubtful), labels, np.array([3]))
    assert found["ours, neighbours alone"] == 1
    assert found["ours, network alone"] == 0
    assert found["ours, network and neighbours"] == 1

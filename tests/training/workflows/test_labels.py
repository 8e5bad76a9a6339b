"""Tests of the search for labels in doubt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import short
from tests.support.factories import tiny
from training.experiments.catalogue import find
from training.workflows.labels import assign_folds, doubts, flip, judge, share_found

CPU = torch.device("cpu")


def test_the_image_whose_label_is_least_likely_comes_first() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]], np.float32)
    found = doubts(np.array([0, 0, 2]), probabilities)
    assert [one.position for one in found] == [1, 0, 2]
    assert found[0].suggested == 1
    assert [one.score for one in found] == pytest.approx([0.7, -0.3, -0.85])


def test_every_image_is_in_one_fold_and_every_fold_has_every_class() -> None:
    labels = np.repeat(np.arange(4), 9)
    assigned = assign_folds(labels, 3, seed=1)
    assert {(label, fold): 3 for label in range(4) for fold in range(3)} == {
        (label, fold): int(((labels == label) & (assigned == fold)).sum())
        for label in range(4)
        for fold in range(3)
    }
    assert not np.array_equal(assigned, assign_folds(labels, 3, seed=2))


def test_flipped_labels_are_of_other_classes() -> None:
    labels = np.repeat(np.arange(5), 100)
    flipped, changed = flip(labels, 5, 0.02, seed=0)
    assert len(changed) == 10
    assert np.array_equal(np.flatnonzero(flipped != labels), changed)
    assert set(flipped) == set(range(5))


def test_the_share_found_counts_as_many_images_as_were_changed() -> None:
    assert share_found(np.array([7, 3, 5, 1]), np.array([3, 1])) == 0.5


@pytest.mark.slow
def test_wrong_labels_are_found_by_networks_that_did_not_train_on_them(tmp_path: Path) -> None:
    made = tiny(per_class=40, kinds=3)
    labels = made.labels.numpy().copy()
    flipped, changed = flip(labels, 3, 0.05, seed=3)
    wrong = replace(made, labels=torch.from_numpy(flipped))
    epochs: list[int] = []
    judged = judge(
        wrong,
        short(find("none-2"), 8),
        CPU,
        tmp_path,
        folds=2,
        on_epoch=lambda one: epochs.append(one.epoch),
    )
    assert epochs == [*range(1, 9)] * 2
    for probabilities in (judged.network, judged.neighbours, judged.combined):
        assert probabilities.sum(1) == pytest.approx(np.ones(len(made)), abs=1e-3)
    ranking = np.array([one.position for one in doubts(flipped, judged.combined)])
    assert share_found(ranking, changed) >= 0.7  # by chance 0.05
    assert not list(tmp_path.iterdir())  # nothing is left behind

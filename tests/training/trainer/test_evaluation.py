"""Tests of `evaluate` and `score`."""

import pytest
import torch
from torch.nn import functional

from tests.support.factories import network
from tests.training.trainer.scripted import ScriptedLogits, labelled_images, predicted_as
from training.data.tensors import LabelledTensors
from training.models.blocknet import BlockNet
from training.trainer import evaluation
from training.trainer.evaluation import evaluate


def scripted_network(monkeypatch: pytest.MonkeyPatch) -> BlockNet:
    built = network()
    monkeypatch.setattr(built, "forward", ScriptedLogits().forward)
    return built


def test_accuracy_is_counted_over_images_not_averaged_over_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)
    images = predicted_as([0, 1, 2, 3, 4])
    found = evaluate(
        scripted_network(monkeypatch), LabelledTensors(images, torch.tensor([0, 1, 2, 3, 9]))
    )
    assert found.accuracy == 4 / 5  # the mean of the batches would be 1 / 2
    assert found.loss == pytest.approx(100 / 5)
    assert found.count == 5


def test_rows_of_the_confusion_matrix_are_the_true_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([3, 3, 7])
    found = evaluate(
        scripted_network(monkeypatch), LabelledTensors(predicted_as([5, 5, 7]), labels)
    )
    matrix = torch.tensor(found.confusion_matrix)
    assert [int(n) for n in (matrix[3, 5], matrix[7, 7], matrix.sum())] == [2, 1, 3]


def test_the_evaluation_does_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    built, held_out = network(batch_norm=True), labelled_images(25)
    together = evaluate(built, held_out)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    apart = evaluate(built, held_out)
    assert apart.confusion_matrix == together.confusion_matrix
    assert apart.loss == pytest.approx(together.loss, rel=1e-5)


def test_evaluation_does_not_change_the_network() -> None:
    built = network(batch_norm=True, dropout=0.2)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    evaluate(built, labelled_images(20))
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


@pytest.mark.parametrize(("classes", "whole"), [(100, True), (101, False)])
def test_with_many_classes_only_non_zero_confusions_are_kept(classes: int, whole: bool) -> None:
    logits = functional.one_hot(torch.tensor([0, 0, 7, 0]), classes).float()
    found = evaluation.score(logits, torch.tensor([0, 5, 7, 5]))
    assert (found.confusion_matrix is not None) == whole
    assert found.confusions == (() if whole else ((0, 0, 1), (5, 0, 2), (7, 7, 1)))
    assert found.confusion_counts == {0: {0: 1}, 5: {0: 2}, 7: {7: 1}}

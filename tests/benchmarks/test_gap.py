"""Tests of the variations of `batchnorm-3` that look for the gap to the report."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.training import gap
from benchmarks.training.gap import VARIATIONS, encode_again, torchvision_augmentation
from tests.support.factories import network, tiny
from training.data.splits import split
from training.experiments.catalogue import find
from training.experiments.config import REPORT
from training.experiments.record import read_all
from training.experiments.reports.gap import CHANGES
from training.trainer import train_step
from training.trainer.optimizers import build_optimizers
from training.trainer.run_store import RunStore


def test_every_variation_has_its_row_in_the_report() -> None:
    assert [one.name for one in VARIATIONS] == list(CHANGES)


def test_each_encoding_changes_the_images_and_not_the_split() -> None:
    original = tiny(per_class=4)
    once, twice = (encode_again(original, times) for times in (1, 2))
    assert len({original.fingerprint, once.fingerprint, twice.fingerprint}) == 3
    assert split(once, 0).test == split(original, 0).test
    change = (once.images.float() - original.images.float()).abs().mean()
    assert 0 < change < 20
    assert encode_again(original, 0) is original


def test_torchvisions_augmentation_moves_pixels_and_keeps_the_shape() -> None:
    images = tiny(per_class=1).images
    with torchvision_augmentation():
        made = vars(train_step)["augment"](images, torch.Generator(), REPORT)
    assert made.shape == images.shape
    assert not torch.equal(made, images)


def test_without_norm_decay_only_other_parameters_shrink() -> None:
    built = network(3, batch_norm=True)
    config = find("batchnorm-3").config.model_copy(
        update={"decay_norms": False, "decay_decoupled": True, "weight_decay": 0.5}
    )
    parameters = dict(built.named_parameters())
    norm, kernel = parameters["blocks.0.norm.weight"], parameters["blocks.0.conv1.weight"]
    before = norm.detach().clone(), kernel.detach().clone()
    for parameter in built.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in build_optimizers(built, config):
        optimizer.step()
    assert torch.equal(norm, before[0])
    assert kernel.detach().norm() < before[1].norm()


@pytest.mark.slow
def test_variations_with_a_record_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path / "experiments", tmp_path / "checkpoints")
    images = tiny(per_class=4)
    chosen = [one for one in VARIATIONS if one.name in {"as-recorded", "encoded-2"}]
    gap.train_all(chosen, images, store, 0, "cpu", 1)
    records = read_all(store.records)
    assert [one.experiment for one in records] == [
        "batchnorm-3-as-recorded",
        "batchnorm-3-encoded-2",
    ]
    assert all(one.validation for one in records)
    assert np.unique([one.dataset.splits["test"].indices_sha256 for one in records]).size == 1
    monkeypatch.delattr(gap, "run")
    gap.train_all(chosen, images, store, 0, "cpu", 1)

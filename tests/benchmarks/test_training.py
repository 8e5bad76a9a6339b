"""Tests of the training benchmark: both loops learn the same from the same images."""

import itertools
import time
from collections.abc import Iterator

import pytest
import torch

from benchmarks.training.__main__ import (
    FastLoop,
    Kind,
    PILDataset,
    PlainLoop,
    compare_accuracy,
    compare_speed,
    make,
    rate,
)
from tests.support.factories import tiny
from training.data.tensors import LabelledTensors

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]

CPU = torch.device("cpu")
NAME = "none-2"


@pytest.fixture(scope="module")
def data() -> LabelledTensors:
    """150 images: two batches of 64, and a smaller one."""
    made = tiny(per_class=15)
    return LabelledTensors(made.images, made.labels)


def test_the_pil_dataset_scales_pixels_to_fractions(data: LabelledTensors) -> None:
    plain = PILDataset(data, augmentation=False)
    assert len(plain) == 150
    image, label = plain[7]
    assert torch.equal((image * 255).round().to(torch.uint8), data.images[7])
    assert label == data.labels[7]


def test_the_pil_dataset_augments_again_at_every_read(data: LabelledTensors) -> None:
    plain = PILDataset(data, augmentation=True)
    seen = torch.stack([plain[7][0] for _ in range(20)])
    assert seen.shape == (20, 3, 32, 32)
    assert len(seen.flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("kind", [PlainLoop, FastLoop])
def test_an_epoch_has_every_image_once(kind: Kind, data: LabelledTensors) -> None:
    loop = make(kind, NAME, 0, data, 10)
    before = loop.network.output.weight.detach().clone()
    assert list(loop.epoch()) == [64, 64, 22]
    assert not torch.equal(loop.network.output.weight, before)


def test_both_loops_start_with_the_same_weights(data: LabelledTensors) -> None:
    plain, ours, other = (
        make(kind, NAME, seed, data, 10).network.state_dict()
        for kind, seed in ((PlainLoop, 3), (FastLoop, 3), (FastLoop, 4))
    )
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    assert not all(torch.equal(plain[name], other[name]) for name in plain)


def test_both_loops_learn_the_same(data: LabelledTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    # With one full batch the order of the images has no effect.
    monkeypatch.setattr("benchmarks.training.__main__.pick_precision", lambda *_: "fp32")
    one_batch = LabelledTensors(data.images[:64], data.labels[:64])
    loops = [make(kind, "batchnorm-2", 0, one_batch, 10) for kind in (PlainLoop, FastLoop)]
    before = loops[0].network.output.weight.detach().clone()
    for loop in loops:
        for _ in range(3):
            assert list(loop.epoch()) == [64]
    plain, ours = (loop.network.output.weight.detach() for loop in loops)
    moved = (plain - before).abs().mean()
    assert (plain - ours).abs().mean() < moved / 20


def test_there_is_an_accuracy_for_each_loop_and_seed(data: LabelledTensors) -> None:
    few = LabelledTensors(data.images[:70], data.labels[:70])
    found = compare_accuracy(NAME, few, few, 10, epochs=1, seeds=2)
    assert {label: len(values) for label, values in found.items()} == {"plain": 2, "ours": 2}


def test_a_rate_counts_only_the_images_of_its_steps() -> None:
    def slow() -> Iterator[int]:
        for length in itertools.cycle((10, 20)):
            time.sleep(0.01)
            yield length

    batches = slow()
    assert rate(batches, CPU, 2) <= 30 / 0.02
    assert next(batches) == 10  # two were consumed


def test_both_loops_are_measured_in_every_round(data: LabelledTensors) -> None:
    plain, ours = compare_speed(NAME, data, 10, steps=1, rounds=2)
    assert len(plain) == len(ours) == 2
    assert min(plain + ours) > 0

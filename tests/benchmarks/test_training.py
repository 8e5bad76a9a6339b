"""The plain loop that training is compared with: it learns the same, from the same images."""

import itertools
import time
from collections.abc import Iterator

import pytest
import torch

from benchmarks.training.__main__ import (
    OneByOne,
    Ours,
    Plain,
    compare_accuracy,
    compare_speed,
    make,
    rate,
)
from tests.support.factories import tiny
from training.data.tensors import LabelledTensors

CPU = torch.device("cpu")
NAME = "none-2"


@pytest.fixture(scope="module")
def data() -> LabelledTensors:
    """150 pictures: two batches of 64, and a smaller one."""
    made = tiny(per_class=15)
    return LabelledTensors(made.images, made.labels)


def test_one_by_one_gives_the_pictures_as_fractions(data: LabelledTensors) -> None:
    plain = OneByOne(data, augmentation=False)
    assert len(plain) == 150
    image, label = plain[7]
    assert torch.equal((image * 255).round().to(torch.uint8), data.images[7])
    assert label == data.labels[7]


def test_one_by_one_augments_anew_whenever_it_is_asked(data: LabelledTensors) -> None:
    plain = OneByOne(data, augmentation=True)
    seen = torch.stack([plain[7][0] for _ in range(20)])
    assert seen.shape == (20, 3, 32, 32)
    assert len(seen.flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("kind", [Plain, Ours])
def test_an_epoch_is_every_image_once(
    kind: type[Plain] | type[Ours], data: LabelledTensors
) -> None:
    loop = make(kind, NAME, 0, data, 10)
    before = loop.network.output.weight.detach().clone()
    assert list(loop.epoch()) == [64, 64, 22]
    assert not torch.equal(loop.network.output.weight, before)


def test_both_begin_with_the_same_weights(data: LabelledTensors) -> None:
    plain, ours, other = (
        make(kind, NAME, seed, data, 10).network.state_dict()
        for kind, seed in ((Plain, 3), (Ours, 3), (Ours, 4))
    )
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    assert not all(torch.equal(plain[name], other[name]) for name in plain)


def test_both_learn_the_same(data: LabelledTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    # In one full batch the order of the images does not count.
    monkeypatch.setattr("benchmarks.training.__main__.pick_precision", lambda *_: "fp32")
    one_batch = LabelledTensors(data.images[:64], data.labels[:64])
    loops = [make(kind, "batchnorm-2", 0, one_batch, 10) for kind in (Plain, Ours)]
    before = loops[0].network.output.weight.detach().clone()
    for loop in loops:
        for _ in range(3):
            assert list(loop.epoch()) == [64]
    plain, ours = (loop.network.output.weight.detach() for loop in loops)
    moved = (plain - before).abs().mean()
    assert (plain - ours).abs().mean() < moved / 20


def test_accuracies_are_of_each_loop_and_seed(data: LabelledTensors) -> None:
    few = LabelledTensors(data.images[:70], data.labels[:70])
    found = compare_accuracy(NAME, few, few, 10, epochs=1, seeds=2)
    assert {label: len(values) for label, values in found.items()} == {"plain": 2, "ours": 2}


def test_a_rate_counts_the_images_of_its_steps_alone() -> None:
    def slow() -> Iterator[int]:
        for length in itertools.cycle((10, 20)):
            time.sleep(0.01)
            yield length

    asked = slow()
    assert rate(asked, CPU, 2) <= 30 / 0.02
    assert next(asked) == 10  # two were taken, no more


def test_both_are_timed_in_every_round(data: LabelledTensors) -> None:
    plain, ours = compare_speed(NAME, data, 10, steps=1, rounds=2)
    assert len(plain) == len(ours) == 2
    assert min(plain + ours) > 0

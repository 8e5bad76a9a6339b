"""Tests of the search for near-duplicates."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.factories import network, tiny
from training.data.dataset import Dataset
from training.data.splits import split
from training.models.blocknet import BlockNet
from training.workflows import near_duplicates
from training.workflows.near_duplicates import correlate_details, find

CPU = torch.device("cpu")


def noise(count: int, seed: int = 0) -> Tensor:
    """Return images of smooth noise, none like another."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    grown = torch.nn.functional.interpolate(coarse, size=(40, 40), mode="bicubic")
    return (grown.clamp(0, 1) * 255).byte()


def crop(images: Tensor, top: int = 4, left: int = 4) -> Tensor:
    return images[:, :, top : top + 32, left : left + 32]


@pytest.fixture(scope="module")
def built() -> BlockNet:
    return network(conv_blocks=3).eval()


def test_details_of_a_shifted_darker_grey_copy_are_the_same() -> None:
    wide = noise(1)
    copy = (crop(wide, 6, 1).float().mean(1, keepdim=True) * 0.7 + 10).byte().expand(1, 3, 32, 32)
    other = crop(noise(1, seed=1))
    images = torch.cat([crop(wide), crop(wide), copy, other])
    same, shifted, different = correlate_details(
        images, np.array([0, 0, 0]), np.array([1, 2, 3])
    ).tolist()
    assert same == pytest.approx(1, abs=1e-4)
    assert shifted > 0.95
    assert different < 0.7


def test_a_zoomed_copy_correlates_more_than_another_image() -> None:
    wide = noise(1)
    zoomed = torch.nn.functional.interpolate(crop(wide)[:, :, 1:-1, 1:-1].float(), size=(32, 32))
    images = torch.cat([crop(wide), zoomed.byte(), crop(noise(1, seed=1))])
    copy, other = correlate_details(images, np.array([0, 0]), np.array([1, 2]))
    assert copy > 0.8 > other


def test_copies_are_found_across_and_within_the_positions(built: BlockNet) -> None:
    wide = noise(30)
    images = torch.cat([crop(wide), crop(wide[:2], 5, 3)])  # 30 and 31 are copies of 0 and 1
    first, rest = np.arange(30), np.arange(30, 32)
    across = find(built, images, rest, first, CPU, threshold=0.95)
    assert sorted(zip(across.first.tolist(), across.second.tolist(), strict=True)) == [
        (30, 0),
        (31, 1),
    ]
    every = np.arange(32)
    within = find(built, images, every, every, CPU, threshold=0.95)
    assert sorted(zip(within.first.tolist(), within.second.tolist(), strict=True)) == [
        (0, 30),
        (1, 31),
    ]
    assert within.score.tolist() == sorted(within.score.tolist(), reverse=True)


def test_without_near_duplicates_there_are_no_pairs(built: BlockNet) -> None:
    every = np.arange(12)
    assert len(find(built, crop(noise(12)), every, every, CPU, threshold=0.999)) == 0


def test_test_images_with_a_copy_in_training_or_validation_are_counted(
    built: BlockNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "THRESHOLD", 0.97)
    made = tiny(per_class=8, kinds=10)
    parts = split(made, 0)
    images = crop(noise(len(made)))
    wide = noise(len(made))
    for test, known in ((0, parts.train[0]), (1, parts.validation[3])):
        images[parts.test[test]] = crop(wide, 5, 4)[known]
    images[parts.test[2]] = images[parts.test[3]]  # a copy within the test split does not count
    copied = Dataset(made.name, made.classes, images, made.labels, made.ids)
    found = near_duplicates.measure(built, copied, parts, CPU)
    assert found.count == 2
    assert found.accuracy_with in {0, 0.5, 1}
    assert found.accuracy_without is not None

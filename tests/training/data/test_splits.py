"""Splits: 70:15:15, seeded, stratified, disjoint, saved."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.factories import labelled, tiny
from tests.training.conftest import Batches
from training.data.dataset import Dataset, DatasetError, load
from training.data.splits import Splits, indices_sha256, split, split_once

PARTS = ("train", "validation", "test")
class_sizes = st.lists(st.integers(4, 60), min_size=2, max_size=6)


def of_sizes(sizes: list[int], shuffle: int = 0) -> Dataset:
    """Return a data set with this many images of each class, in random order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return labelled(np.random.default_rng(shuffle).permutation(labels).tolist())


@given(class_sizes, st.integers(0, 1000))
def test_every_image_is_in_exactly_one_split(sizes: list[int], seed: int) -> None:
    made = split(of_sizes(sizes), seed)
    together = [*made.train, *made.validation, *made.test]
    assert sorted(together) == list(range(sum(sizes)))


@given(class_sizes, st.integers(0, 1000))
def test_each_class_is_split_70_15_15(sizes: list[int], seed: int) -> None:
    dataset = of_sizes(sizes)
    made = split(dataset, seed)
    for label, size in enumerate(sizes):
        counts = [int((dataset.labels[made.indices(part)] == label).sum()) for part in PARTS]
        held_out = max(1, round(0.15 * size))
        assert counts == [size - 2 * held_out, held_out, held_out]


@given(class_sizes, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_split(sizes: list[int], seed: int) -> None:
    assert split(of_sizes(sizes), seed) == split(of_sizes(sizes), seed)


def test_another_seed_gives_another_split() -> None:
    assert split(tiny(), 0).test != split(tiny(), 1).test


def test_the_split_is_independent_of_the_encoding() -> None:
    lossless = tiny()
    lossy = Dataset("jpeg", lossless.classes, lossless.images // 2, lossless.labels, lossless.ids)
    assert lossy.fingerprint != lossless.fingerprint
    for part in PARTS:
        assert np.array_equal(split(lossy, 0).indices(part), split(lossless, 0).indices(part))


def test_original_batches_and_a_folder_of_them_are_split_alike(
    batches: Batches, tmp_path: Path
) -> None:
    from PIL import Image

    original = load(batches.folder)
    for position, pixels in enumerate(batches.train):
        folder = tmp_path / "jpeg" / "train" / original.classes[original.labels[position]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{position}.jpg")
    jpeg = load(tmp_path / "jpeg")
    assert jpeg.ids == original.ids
    assert split(jpeg, 0).test == split(original, 0).test


def test_the_split_of_a_seed_never_changes() -> None:
    dataset = labelled([position % 10 for position in range(500)])
    assert (
        indices_sha256(split(dataset, 0).indices("test"))
        == "e36baf6e97acb28c68df8309d6177bc79d9b6d4bf82ea91963b0ec772108fda0"
    )


def test_indices_of_several_splits_are_sorted() -> None:
    made = split(tiny(), 0)
    together = made.indices("train", "validation")
    assert together.tolist() == sorted(made.train + made.validation)


def test_the_hash_is_independent_of_the_order() -> None:
    forward = np.arange(10)
    assert indices_sha256(forward) == indices_sha256(forward[::-1].copy())
    assert indices_sha256(forward) != indices_sha256(forward + 1)


def test_a_split_is_saved_and_read_again(tmp_path: Path) -> None:
    made = split_once(tiny(), 3, tmp_path)
    (file,) = tmp_path.iterdir()
    assert Splits.model_validate_json(file.read_bytes()) == made
    assert split_once(tiny(), 3, tmp_path) == made


def test_a_saved_split_is_used(tmp_path: Path) -> None:
    split_once(tiny(), 0, tmp_path)
    (file,) = tmp_path.iterdir()
    saved = Splits.model_validate_json(file.read_bytes())
    swapped = saved.model_copy(update={"test": saved.validation, "validation": saved.test})
    file.write_text(swapped.model_dump_json())
    assert split_once(tiny(), 0, tmp_path) == swapped


def test_each_seed_and_data_set_has_its_own_file(tmp_path: Path) -> None:
    for dataset in (tiny(), tiny(start=50)):
        for seed in (0, 1):
            split_once(dataset, seed, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_saved_split_is_named(tmp_path: Path) -> None:
    split_once(tiny(), 0, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:50])
    with pytest.raises(DatasetError, match=f"{file} is damaged"):
        split_once(tiny(), 0, tmp_path)


def test_a_saved_split_of_other_data_is_rejected(tmp_path: Path) -> None:
    split_once(tiny(), 0, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(split(tiny(start=50), 0).model_dump_json())
    with pytest.raises(DatasetError, match="is not a split of tiny with seed 0"):
        split_once(tiny(), 0, tmp_path)


def test_overlapping_splits_are_rejected() -> None:
    with pytest.raises(ValidationError, match="splits overlap"):
        Splits(fingerprint="f", seed=0, train=(0, 1), validation=(1,), test=(2,))


def test_a_single_class_is_rejected_by_name() -> None:
    with pytest.raises(DatasetError, match="made has one class, 'amber'; at least two"):
        split(labelled([0] * 20), 0)


def test_classes_too_small_to_split_are_named() -> None:
    labels = [0] * 3 + [1] * 4 + [2] * 1
    with pytest.raises(DatasetError, match="class 'amber' has 3, 'cyan' has 1; at least 4"):
        split(labelled(labels), 0)


def test_four_images_per_class_can_be_split() -> None:
    made = split(labelled([0] * 4 + [1] * 4), 0)
    assert [len(made.train), len(made.validation), len(made.test)] == [4, 2, 2]


def test_splitting_leaves_the_global_random_state_unchanged() -> None:
    before = torch.get_rng_state()
    split(tiny(), 0)
    assert torch.equal(torch.get_rng_state(), before)

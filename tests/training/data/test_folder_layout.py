"""Assigning partitions and classes by path."""

from pathlib import PurePosixPath

import pytest

from training.data.folder_layout import LayoutError, assign_classes, find_layout


def assigned(*names: str) -> dict[str, tuple[str, str]]:
    return {
        str(path): partition_label
        for path, partition_label in assign_classes([PurePosixPath(n) for n in names]).items()
    }


def test_class_folders_without_partitions_are_training_data() -> None:
    assert assigned("cat/1.png", "dog/1.png") == {
        "cat/1.png": ("train", "cat"),
        "dog/1.png": ("train", "dog"),
    }


@pytest.mark.parametrize("inside", ["", "photos/", "a/b/photos/"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "TESTING")])
def test_partitions_have_class_folders_at_any_depth(inside: str, train: str, test: str) -> None:
    names = [
        f"{inside}{train}/cat/1.png",
        f"{inside}{train}/dog/1.png",
        f"{inside}{test}/dog/1.png",
    ]
    assert list(assigned(*names).values()) == [("train", "cat"), ("train", "dog"), ("test", "dog")]


def test_a_single_partition_is_recognised() -> None:
    assert assigned("train/cat/1.png", "train/dog/1.png")["train/dog/1.png"] == ("train", "dog")
    assert assigned("test/cat/1.png")["test/cat/1.png"] == ("test", "cat")


@pytest.mark.parametrize("name", ["val", "Valid", "validation"])
def test_validation_folders_are_a_part_of_their_own(name: str) -> None:
    names = ["train/cat/1.png", f"{name}/cat/2.png", "test/cat/3.png"]
    assert [part for part, _ in assigned(*names).values()] == ["train", "validation", "test"]


@pytest.mark.parametrize("start", ["", "photos/", "train/", "photos/train/"])
def test_subfolders_of_a_class_belong_to_it(start: str) -> None:
    """Subfolders with the same name in two classes are not a class."""
    names = ["cats/old/1.png", "cats/new/1.png", "dogs/old/1.png", "dogs/2.png"]
    classes = [name for _, name in assigned(*(start + name for name in names)).values()]
    assert classes == ["cats", "cats", "dogs", "dogs"]


def test_a_class_may_have_the_name_of_a_partition() -> None:
    assert assigned("train/1.png", "bus/1.png")["train/1.png"] == ("train", "train")


def test_other_folders_next_to_train_and_test_are_rejected() -> None:
    """Otherwise train and test would be classes, and test images would be trained on."""
    with pytest.raises(LayoutError, match="samples"):
        assigned("train/cat/1.png", "test/cat/1.png", "samples/x/1.png")


@pytest.mark.parametrize("other", ["unlabeled", "dev", "masks", "flowers"])
def test_a_folder_next_to_train_alone_is_rejected_too(other: str) -> None:
    with pytest.raises(LayoutError, match=f"other folders next to train: {other}"):
        assigned("train/cat/1.png", "train/dog/1.png", f"{other}/x/1.png")


def test_folders_that_look_like_parts_but_have_other_names_are_rejected() -> None:
    with pytest.raises(LayoutError, match="test_images, train_images look like parts"):
        assigned("train_images/cat/1.png", "train_images/dog/1.png", "test_images/cat/1.png")


def test_one_folder_that_looks_like_a_part_is_passed_through() -> None:
    assert assigned("train_images/cat/1.png", "train_images/dog/1.png") == {
        "train_images/cat/1.png": ("train", "cat"),
        "train_images/dog/1.png": ("train", "dog"),
    }


def test_a_class_that_looks_like_a_part_is_doubtful() -> None:
    paths = [PurePosixPath(name) for name in ("rose/1.png", "masks/1.png", "test tube/1.png")]
    assert find_layout(paths).doubtful == ("masks", "test tube")
    assert find_layout([paths[0], PurePosixPath("trains/1.png")]).doubtful == ()


def test_composed_and_decomposed_names_are_one_class() -> None:
    assert {name for _, name in assigned("R\u00f6schen/1.png", "Ro\u0308schen/2.png").values()} == {
        "R\u00f6schen"
    }


def test_images_outside_class_folders_are_ignored() -> None:
    assert assigned("cover.png", "cat/1.png", "dog/1.png").keys() == {"cat/1.png", "dog/1.png"}
    assert assigned("train/cover.png", "train/cat/1.png").keys() == {"train/cat/1.png"}
    assert assigned("train/1.png", "test/2.png") == {}


def test_a_single_class_is_recognised_at_any_depth() -> None:
    for names in (["cat/1.png", "cat/2.png"], ["a/cat/1.png", "a/cat/old/2.png"]):
        assert {name for _, name in assigned(*names).values()} == {"cat"}


def test_no_files_give_no_labels() -> None:
    assert assigned() == {}
    assert assigned("1.png") == {}

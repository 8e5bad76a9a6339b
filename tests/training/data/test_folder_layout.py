"""Which file belongs to which class."""

from pathlib import PurePosixPath

import pytest

from training.data.folder_layout import LayoutError, assign_classes


def found(*names: str) -> dict[str, tuple[str, str]]:
    return {
        str(path): place
        for path, place in assign_classes([PurePosixPath(n) for n in names]).items()
    }


def test_class_folders_alone_are_training_data() -> None:
    assert found("cat/1.png", "dog/1.png") == {
        "cat/1.png": ("train", "cat"),
        "dog/1.png": ("train", "dog"),
    }


@pytest.mark.parametrize("inside", ["", "photos/", "a/b/photos/"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "TESTING")])
def test_partitions_have_class_folders_wherever_they_lie(
    inside: str, train: str, test: str
) -> None:
    names = [
        f"{inside}{train}/cat/1.png",
        f"{inside}{train}/dog/1.png",
        f"{inside}{test}/dog/1.png",
    ]
    assert list(found(*names).values()) == [("train", "cat"), ("train", "dog"), ("test", "dog")]


def test_a_partition_alone_is_still_one() -> None:
    assert found("train/cat/1.png", "train/dog/1.png")["train/dog/1.png"] == ("train", "dog")
    assert found("test/cat/1.png")["test/cat/1.png"] == ("test", "cat")


def test_images_set_apart_for_validation_train_too() -> None:
    """The split is ours; what is to be tested on is another matter."""
    names = ["train/cat/1.png", "val/cat/2.png", "test/cat/3.png"]
    assert [part for part, _ in found(*names).values()] == ["train", "train", "test"]


@pytest.mark.parametrize("start", ["", "photos/", "train/", "photos/train/"])
def test_folders_in_a_class_belong_to_it(start: str) -> None:
    """As two folders of one name do: they are no class of their own."""
    names = ["cats/old/1.png", "cats/new/1.png", "dogs/old/1.png", "dogs/2.png"]
    classes = [name for _, name in found(*(start + name for name in names)).values()]
    assert classes == ["cats", "cats", "dogs", "dogs"]


def test_a_class_may_be_called_like_a_partition() -> None:
    assert found("train/1.png", "bus/1.png")["train/1.png"] == ("train", "train")


def test_what_lies_beside_images_to_train_and_to_test_with_makes_no_classes_of_them() -> None:
    """Or the images to test with would be trained on."""
    with pytest.raises(LayoutError, match="samples"):
        found("train/cat/1.png", "test/cat/1.png", "samples/x/1.png")


def test_images_beside_the_class_folders_belong_nowhere() -> None:
    assert found("cover.png", "cat/1.png", "dog/1.png").keys() == {"cat/1.png", "dog/1.png"}
    assert found("train/cover.png", "train/cat/1.png").keys() == {"train/cat/1.png"}
    assert found("train/1.png", "test/2.png") == {}


def test_one_class_is_one_class_wherever_it_lies() -> None:
    for names in (["cat/1.png", "cat/2.png"], ["a/cat/1.png", "a/cat/old/2.png"]):
        assert {name for _, name in found(*names).values()} == {"cat"}


def test_no_files_have_no_place() -> None:
    assert found() == {}
    assert found("1.png") == {}

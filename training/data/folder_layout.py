"""Which partition and which class an image file belongs to, by where it lies. Knows paths alone."""

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from training.data.cifar10 import Partition

PARTITIONS: Mapping[str, Partition] = {
    "train": "train", "training": "train",
    "val": "train", "valid": "train", "validation": "train",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folders that are no classes. Validation images are split off anew, so those set apart train."""

PartitionLabel = tuple[Partition, str]


class LayoutError(ValueError):
    """Folders of which one cannot say what they are."""


def assign_classes(paths: Collection[PurePosixPath]) -> dict[PurePosixPath, PartitionLabel]:
    """The partition and the class of each file; files beside the class folders have none.

    Whatever all files lie in is left aside. Below it, either every folder is a partition and its
    folders are classes, or the folders are classes and all is training data. Folders in a class
    belong to it, however deep, as in torchvision's `ImageFolder`.

    Raises:
        LayoutError: a folder lies beside partitions, and would make classes of them.

    """
    inner = [path for path in paths if len(path.parts) > 1]
    if not inner:
        return {}
    start = _common(inner)
    heads = {path.parts[start].lower() for path in inner}
    parted = heads <= PARTITIONS.keys()
    if not parted and {PARTITIONS.get(head) for head in heads} >= {"train", "test"}:
        beside = {path.parts[start] for path in inner}
        others = ", ".join(sorted(name for name in beside if name.lower() not in PARTITIONS)[:10])
        raise LayoutError(
            f"beside folders to train and to test with there is {others}: move that elsewhere, or "
            "have every folder be a class"
        )
    found: dict[PurePosixPath, PartitionLabel] = {}
    for path in inner:
        first, *below = path.parts[start:]
        if not parted:
            found[path] = "train", first
        elif len(below) > 1:
            found[path] = PARTITIONS[first.lower()], below[0]
    return found


def _common(paths: Collection[PurePosixPath]) -> int:
    """How many folders all files lie in, one after the other, that are neither class nor part."""
    shortest = min(len(path.parts) for path in paths)
    for depth in range(shortest - 2):
        names = {path.parts[depth] for path in paths}
        if len(names) > 1 or names.pop().lower() in PARTITIONS:
            return depth
    return max(shortest - 2, 0)

"""The partition and class of each image file, by its path.

Works on paths; must not open files.
"""

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from training.data.cifar10 import Partition

PARTITIONS: Mapping[str, Partition] = {
    "train": "train", "training": "train",
    "val": "train", "valid": "train", "validation": "train",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names that are not classes. Validation folders count as training data: `split` makes its
own validation split."""

PartitionLabel = tuple[Partition, str]


class LayoutError(ValueError):
    """The folders are ambiguous: it is not clear which are partitions and which are classes."""


def assign_classes(paths: Collection[PurePosixPath]) -> dict[PurePosixPath, PartitionLabel]:
    """Assign a partition and a class to each file in a class folder.

    Parent folders common to all files are ignored. Below them, either every folder is a partition
    with class folders, or every folder is a class of training data. Subfolders of a class belong to
    it, as in torchvision's `ImageFolder`.

    Args:
        paths: of image files, relative to the source.

    Returns:
        (partition, class) by path; files outside class folders are left out.

    Raises:
        LayoutError: there are folders other than the train and test folders.

    """
    nested = [path for path in paths if len(path.parts) > 1]
    if not nested:
        return {}
    depth = _common_depth(nested)
    top_folders = {path.parts[depth].lower() for path in nested}
    has_partitions = top_folders <= PARTITIONS.keys()
    if not has_partitions and {PARTITIONS.get(name) for name in top_folders} >= {"train", "test"}:
        names = {path.parts[depth] for path in nested}
        others = ", ".join(sorted(name for name in names if name.lower() not in PARTITIONS)[:10])
        raise LayoutError(
            f"other folders next to train and test: {others}. Move them elsewhere, or make every "
            "folder a class"
        )
    assigned: dict[PurePosixPath, PartitionLabel] = {}
    for path in nested:
        first, *below = path.parts[depth:]
        if not has_partitions:
            assigned[path] = "train", first
        elif len(below) > 1:
            assigned[path] = PARTITIONS[first.lower()], below[0]
    return assigned


def _common_depth(paths: Collection[PurePosixPath]) -> int:
    """Return the number of leading folders shared by all files that are no class or partition."""
    shortest = min(len(path.parts) for path in paths)
    for depth in range(shortest - 2):
        names = {path.parts[depth] for path in paths}
        if len(names) > 1 or names.pop().lower() in PARTITIONS:
            return depth
    return max(shortest - 2, 0)

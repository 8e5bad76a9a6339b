"""The partition and class of each image file, by its path.

Works on paths; must not open files.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from training.data.names import class_name

Part = Literal["train", "validation", "test"]

PARTS: Mapping[str, Part] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names that are parts of the data and not classes."""
LIKE_PARTS = re.compile(
    r"(?:^|[\W_])(?:train|training|test|testing|val|valid|validation|dev|eval|evaluation|holdout"
    r"|unlabell?ed|masks?|annotations?|labels?)(?:$|[\W_\d])",
    re.IGNORECASE,
)
"""Matches folder names that look like a part of the data, such as `train_images` or `unlabeled`."""
MAX_SHOWN = 10

PartLabel = tuple[Part, str]
UNNAMED = ""
"""The class of every image in a layout without classes."""
NO_CLASS = -1
"""The label of every image in data without classes."""


class LayoutError(ValueError):
    """The folders are ambiguous: it is not clear which are parts and which are classes."""


@dataclass(frozen=True)
class Layout:
    """Where the classes are: `depth` folders are common to all; then parts, if any; then classes.

    `doubtful` names the classes that look like a part of the data. Without `has_classes`, folders
    mean nothing and every image is taken.
    """

    depth: int
    has_parts: bool
    doubtful: tuple[str, ...] = ()
    has_classes: bool = True

    @property
    def class_depth(self) -> int:
        """The number of folders above a class folder."""
        return self.depth + self.has_parts

    def below(self, path: PurePosixPath) -> str:
        """Return a path without the folders that are common to all."""
        return "/".join(path.parts[self.depth :])

    def assign(self, path: PurePosixPath) -> PartLabel | None:
        """Return the part and the class of a file; None if it is in no class folder."""
        if not self.has_classes:
            return "train", UNNAMED
        folders = path.parts[:-1]
        if len(folders) <= self.class_depth:
            return None
        part = PARTS[folders[self.depth].lower()] if self.has_parts else "train"
        return part, class_name(folders[self.class_depth])

    def class_folders(self, folders: Iterable[PurePosixPath]) -> set[str]:
        """Return the classes that these folders, or folders inside them, belong to."""
        depth = self.class_depth
        return {
            class_name(folder.parts[depth])
            for folder in folders
            if len(folder.parts) > depth
            and (not self.has_parts or folder.parts[self.depth].lower() in PARTS)
        }


def find_layout(paths: Collection[PurePosixPath]) -> Layout:
    """Find the class folders of image files.

    Parent folders common to all files are ignored. Below them, either every folder is a part of
    the data with class folders, or every folder is a class. Subfolders of a class belong to it, as
    in torchvision's `ImageFolder`.

    Raises:
        LayoutError: folders look like parts of the data, and others are beside them or they have
            names of their own.

    """
    nested = [path for path in paths if len(path.parts) > 1]
    if not nested:
        return Layout(0, has_parts=False)
    depth = _common_depth(nested)
    names = {path.parts[depth] for path in nested}
    if all(name.lower() in PARTS for name in names):
        return Layout(depth, has_parts=True)
    with_classes = {path.parts[depth] for path in nested if len(path.parts) > depth + 2}
    parts = {name for name in names if name.lower() in PARTS}
    if parts & with_classes:
        raise LayoutError(
            f"other folders next to {_listed(parts)}: {_listed(names - parts)}. Move them "
            "elsewhere, or make every folder a class"
        )
    doubtful = {name for name in names if LIKE_PARTS.search(name)}
    if len(names) > 1 and doubtful == names and doubtful & with_classes:
        raise LayoutError(
            f"the folders {_listed(names)} look like parts of the data: name them train, val and "
            "test, or make every folder a class"
        )
    return Layout(depth, has_parts=False, doubtful=tuple(sorted(map(class_name, doubtful))))


def without_classes(paths: Collection[PurePosixPath]) -> Layout:
    """Return a layout that takes every image file, in any folder."""
    depth = min((len(path.parts) for path in paths), default=1) - 1
    while len({path.parts[:depth] for path in paths}) > 1:
        depth -= 1
    return Layout(depth, has_parts=False, has_classes=False)


def assign_classes(paths: Collection[PurePosixPath]) -> dict[PurePosixPath, PartLabel]:
    """Return the part and the class of each file in a class folder.

    Raises:
        LayoutError: as `find_layout`.

    """
    layout = find_layout(paths)
    return {path: label for path in paths if (label := layout.assign(path))}


def _listed(names: Collection[str]) -> str:
    shown = sorted(map(class_name, names))
    return ", ".join(shown[:MAX_SHOWN]) + (", ..." if len(shown) > MAX_SHOWN else "")


def _common_depth(paths: Collection[PurePosixPath]) -> int:
    """Return the number of leading folders shared by all files that are no class or part."""
    shortest = min(len(path.parts) for path in paths)
    for depth in range(shortest - 2):
        names = {path.parts[depth] for path in paths}
        if len(names) > 1 or names.pop().lower() in PARTS:
            return depth
    return max(shortest - 2, 0)

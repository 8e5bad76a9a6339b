"""Lines for the user about the files and folders of a data set.

Works on what was found and read; reads nothing itself.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.cifar10 import Partition
from training.data.folder_layout import Layout, PartLabel
from training.data.image_files import Found, Unreadable

MAX_SHOWN: Final = 5


def notes(
    layout: Layout,
    found: Found,
    labels: Mapping[PurePosixPath, PartLabel],
    usable: set[PurePosixPath],
) -> tuple[str, ...]:
    """Return lines about folders and files whose use may surprise.

    Args:
        layout: of the folders.
        found: all images and folders.
        labels: part and class of the images in class folders.
        usable: the images that could be read.

    """
    if not layout.has_classes:
        return ()
    kept = {labels[path][1] for path in usable}
    empty = sorted(layout.class_folders(found.folders) - kept)
    outside = sorted(path for path in found.images if path not in labels)
    doubtful = [name for name in layout.doubtful if name in kept]
    lines = []
    if empty:
        lines.append(f"folders without a usable image, so no classes: {', '.join(empty)}")
    if doubtful:
        named = ", ".join(doubtful)
        lines.append(f"taken as classes, though they look like parts of the data: {named}")
    if outside:
        named = _some(list(map(str, outside)), ", ")
        lines.append(f"{len(outside)} images are in no class folder and left out: {named}")
    return tuple(lines)


def no_classes(source: Path, found: Found, names: Collection[str]) -> str:
    """Describe that images are in no class folder, or all in one, and how they should be."""
    which = f"they have one class, {next(iter(names))!r}" if names else "none in a class folder"
    return (
        f"{len(found.images):,} images in {source}, but {which}: put those of each class into a "
        "folder, as <class>/<image> or train/<class>/<image>, with at least two classes"
    )


def nothing_found(source: Path, partition: Partition, found: Found) -> str:
    """Describe what was looked for in a source without images of a partition."""
    return (
        f"no {partition} images in {source}: looked for {partition}/<class>/<image>"
        + (", for <class>/<image>" if partition == "train" else "")
        + " and for the original CIFAR-10 batches"
    )


def line(one: Unreadable) -> str:
    """Name an image that cannot be read, and the reason."""
    return f"{one.path} ({one.reason})"


def cannot_be_read(source: Path, unreadable: Sequence[Unreadable]) -> str:
    """Name the first images that cannot be read."""
    shown = _some([line(one) for one in sorted(unreadable, key=lambda one: one.path)], "; ")
    return f"{len(unreadable)} images in {source} cannot be read: {shown}"


def _some(texts: Sequence[str], separator: str) -> str:
    return separator.join([*texts[:MAX_SHOWN], *(["..."] if len(texts) > MAX_SHOWN else [])])

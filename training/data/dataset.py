"""Labelled images in memory: uint8 tensors, class names, unique ids, a fingerprint.

Sources are a folder `[train|test/]<class>/<image>`, the original CIFAR-10 batches, an archive of
either, or a download. Must not know splits, networks or training.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.data import cifar10, messages
from training.data.archive import DAMAGED, NoSourceError
from training.data.cifar10 import Partition
from training.data.folder_layout import (
    NO_CLASS,
    UNNAMED,
    Layout,
    LayoutError,
    Part,
    PartLabel,
    find_layout,
    without_classes,
)
from training.data.image_files import (
    Decoded,
    Found,
    TemporaryBytes,
    Thumbnails,
    Unreadable,
    decode_all,
    find_images,
)
from training.data.names import unique_ids
from training.data.preprocessing import SIZE, Pixels
from training.data.source import CIFAR10_KEY, Source, file_state, scan

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


class DatasetError(RuntimeError):
    """The source has no usable data; the message names the place and the reason."""


class NoImagesError(DatasetError):
    """The source is readable, but has no images of the requested partition."""


class NoClassesError(DatasetError):
    """The source has images, but fewer than two class folders."""


@dataclass(frozen=True)
class ImageFiles:
    """What is known of own images beside their pixels.

    `paths` are relative to the source. `parts` has the folder `train`, `val` or `test` of each
    image, None if there are no such folders. `states` tell whether the files change later.
    `digests` are hashes of the files. `unreadable` and `notes` are lines for the user.
    """

    paths: tuple[str, ...]
    parts: tuple[Part, ...] | None
    thumbnails: Thumbnails
    states: tuple[str, ...]
    digests: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Labelled images: `images` uint8 [N, 3, S, S], `labels` int64 [N], N unique `ids`.

    `source` says where they are from. `files` is None for CIFAR-10, whose files say nothing more.
    Without classes, each label is `NO_CLASS`.
    """

    name: str
    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    source: Source | None = None
    files: ImageFiles | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def side(self) -> int:
        """The side of the images, in pixels."""
        return self.images.shape[-1]

    @property
    def is_cifar10(self) -> bool:
        """Whether these are CIFAR-10's images in any encoding, recognised by their ids."""
        return all(name.startswith("cifar10-") for name in self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of class names, ids, labels and pixels; of own images, the files instead.

        So the same files have the same fingerprint at every side.
        """
        digest = hashlib.sha256("\0".join((*self.classes, "", *self.ids)).encode())
        digest.update(self.labels.numpy().astype("<i8").tobytes())
        if self.files:
            digest.update("\0".join(self.files.digests).encode())
        else:
            digest.update(self.images.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Changes:
    """What is different in a source: `images` new or changed, `kept` the paths of the others.

    `other_classes` counts the images of classes that were not read. `class_folders` counts those
    of data that was read without classes.
    """

    images: Dataset | None
    kept: tuple[str, ...]
    other_classes: Mapping[str, int]
    source: Source
    class_folders: int = 0


def load(
    source: Path,
    partition: Partition = "train",
    on_image: Callable[[], None] = lambda: None,
    *,
    strict: bool = False,
    side: int = SIZE,
    labelled: bool = True,
) -> Dataset:
    """Read the data in a folder or archive.

    Images that cannot be read are left out and named, except of CIFAR-10, which stays at 32 x 32.

    Args:
        source: holds the original CIFAR-10 batches, `<class>/...`, or `train/<class>/...` with
            `val/<class>/...` and `test/<class>/...` if there are any.
        partition: "train" reads CIFAR-10's training images, and all images of other data. "test"
            reads the test images that the data itself provides.
        on_image: called after each decoded image.
        strict: makes an unreadable image an error.
        side: to resize own images to, in pixels.
        labelled: gives each image the class of its folder. Else all own images are read, in any
            folder, without classes.

    Raises:
        NoImagesError: there are no images.
        NoClassesError: there are images, but not two classes of them.
        DatasetError: the source is missing or damaged, or an image cannot be read and must be; the
            message names it.

    """
    source = source.expanduser()
    if not source.exists():
        raise DatasetError(f"no data at {source}: no such file or folder")
    try:
        state = scan(source)
        if batches := cifar10.find(source):
            images = _from_batches(cifar10.read(batches, partition), partition)
        else:
            images = _from_images(
                source, partition, on_image, strict=strict, side=side, labelled=labelled
            )
        key = CIFAR10_KEY if images.is_cifar10 else state.key
        return replace(images, source=state.model_copy(update={"key": key}))
    except NoSourceError as error:
        raise DatasetError(str(error)) from error
    except (cifar10.BatchesError, *DAMAGED) as error:
        raise DatasetError(f"{source} cannot be read: {error}") from error


def download(root: Path, partition: Partition = "train") -> Dataset:
    """Download CIFAR-10 into `root`, unless it is there, and verify it.

    Raises:
        DatasetError: the site does not respond within five seconds, or the files do not verify.

    """
    try:
        return _from_batches(cifar10.download(root, partition), partition)
    except cifar10.BatchesError as error:
        raise DatasetError(str(error)) from error


def _from_batches(batches: "CIFAR10", partition: Partition) -> Dataset:
    pixels = np.asarray(batches.data, dtype=np.uint8)
    return Dataset(
        name="cifar10",
        classes=tuple(batches.classes),
        images=_channels_first(pixels),
        labels=torch.tensor(batches.targets),
        ids=tuple(cifar10.canonical_id(partition, index) for index in range(len(pixels))),
    )


def _from_images(
    source: Path,
    partition: Partition,
    on_image: Callable[[], None],
    *,
    strict: bool,
    side: int,
    labelled: bool,
) -> Dataset:
    found = find_images(source)
    try:
        layout = (find_layout if labelled else without_classes)(found.images)
    except LayoutError as error:
        raise DatasetError(f"{source}: {error}") from error
    labels = {path: label for path in found.images if (label := layout.assign(path))}
    of_part = {
        path: name
        for path, (part, name) in labels.items()
        if (part == "test") == (partition == "test")
    }
    cifar10_files = _is_cifar10(of_part)
    if partition == "test" or cifar10_files:
        labels = {path: labels[path] for path in of_part}
    names = {name for _, name in labels.values()}
    if labelled and partition == "train" and found.images and len(names) < 2:
        raise NoClassesError(messages.no_classes(source, found, names))
    if not labels:
        raise NoImagesError(messages.nothing_found(source, partition, found))
    side = SIZE if cifar10_files else side
    collected = _decode(source, labels, on_image, side, thumbnails=not cifar10_files)
    if collected.unreadable and (strict or cifar10_files or not collected.images):
        raise DatasetError(messages.cannot_be_read(source, collected.unreadable))
    if cifar10_files:
        return _cifar10(collected.images, of_part, partition)
    notes = messages.notes(layout, found, labels, {image.path for image in collected.images})
    return _own(source, layout, labels, collected, notes)


def load_changes(
    source: Path,
    known: Mapping[str, str],
    classes: Collection[str],
    side: int,
    on_image: Callable[[], None] = lambda: None,
) -> Changes:
    """Read the images of own data that are not known, or whose files have changed.

    Args:
        source: the folder or archive.
        known: the state of each file that was read before, by its path.
        classes: images of other classes are counted and not read. With none, all are read.
        side: to resize the images to, in pixels.
        on_image: called after each decoded image.

    Raises:
        DatasetError: the source is missing or damaged.

    """
    source = source.expanduser()
    try:
        state = scan(source)
        found = find_images(source)
        layout = (find_layout if classes else without_classes)(found.images)
        taken = classes or {UNNAMED}
        labels = {path: label for path in found.images if (label := layout.assign(path))}
        states = {str(path): file_state(source, path) for path in labels}
        kept = {path for path, now in states.items() if now and known.get(path) == now}
        others = Counter(name for _, name in labels.values() if name not in taken)
        wanted = {
            path: label
            for path, label in labels.items()
            if str(path) not in kept and label[1] in taken
        }
        collected = _decode(source, wanted, on_image, side, thumbnails=True)
    except (NoSourceError, LayoutError, *DAMAGED) as error:
        raise DatasetError(f"{source} cannot be read: {error}") from error
    made = _own(source, layout, labels, collected, ()) if collected.images else None
    folders = 0 if classes else len(_class_folders(found))
    return Changes(made, tuple(sorted(kept)), dict(others), state, folders)


def _class_folders(found: Found) -> set[str]:
    """Return the names of the class folders with images."""
    try:
        layout = find_layout(found.images)
    except LayoutError:
        return set()
    return {label[1] for path in found.images if (label := layout.assign(path))}


def _decode(
    source: Path,
    labels: Mapping[PurePosixPath, PartLabel],
    on_image: Callable[[], None],
    side: int,
    *,
    thumbnails: bool,
) -> "_Collected":
    collected = _Collected()
    for result in decode_all(source, labels.keys(), side, thumbnails=thumbnails):
        collected.add(result)
        on_image()
    return collected


class _Collected:
    """The decoded images of a source, with their thumbnails on disk, and what was left out."""

    def __init__(self) -> None:
        self.images: list[Decoded] = []
        self.unreadable: list[Unreadable] = []
        self.stored = TemporaryBytes()
        self.spans: list[tuple[int, int] | None] = []

    def add(self, result: Decoded | Unreadable) -> None:
        if isinstance(result, Unreadable):
            self.unreadable.append(result)
            return
        content = result.thumbnail
        self.spans.append(None if content is None else self.stored.append(content))
        self.images.append(replace(result, thumbnail=None))


def _own(
    source: Path,
    layout: Layout,
    labels: dict[PurePosixPath, PartLabel],
    collected: _Collected,
    notes: tuple[str, ...],
) -> Dataset:
    """Return own images, sorted by path."""
    order = sorted(range(len(collected.images)), key=lambda n: collected.images[n].path)
    images = [collected.images[n] for n in order]
    parts, names = zip(*(labels[image.path] for image in images), strict=True)
    classes = tuple(sorted({*names} - {UNNAMED}))
    label_of = {UNNAMED: NO_CLASS} | {name: label for label, name in enumerate(classes)}
    file_name = source.resolve().name
    return Dataset(
        name=re.sub(r"(\.tar)?\.\w+$", "", file_name) if source.is_file() else file_name,
        classes=classes,
        images=_stacked(images),
        labels=torch.tensor([label_of[name] for name in names]),
        ids=unique_ids([layout.below(image.path) for image in images]),
        files=ImageFiles(
            paths=tuple(str(image.path) for image in images),
            parts=parts if layout.has_parts else None,
            thumbnails=Thumbnails(tuple(collected.spans[n] for n in order), collected.stored),
            states=tuple(file_state(source, image.path) for image in images),
            digests=tuple(image.digest for image in images),
            unreadable=tuple(map(messages.line, collected.unreadable)),
            notes=notes,
        ),
    )


def _cifar10(
    images: list[Decoded], class_of: dict[PurePosixPath, str], partition: Partition
) -> Dataset:
    """Return CIFAR-10's images in the order of their positions."""
    images.sort(key=lambda image: int(image.path.stem))
    suffix = images[0].path.suffix.lower().removeprefix(".")
    return Dataset(
        name="cifar10-" + {"jpg": "jpeg"}.get(suffix, suffix),
        classes=cifar10.CLASSES,
        images=_channels_first(np.stack([image.pixels for image in images])),
        labels=torch.tensor([cifar10.CLASSES.index(class_of[image.path]) for image in images]),
        ids=tuple(cifar10.canonical_id(partition, int(image.path.stem)) for image in images),
    )


def _stacked(images: list[Decoded]) -> Tensor:
    """Return the pixels of images as [N, 3, side, side], without a second copy of all of them."""
    side = len(images[0].pixels)
    stacked = torch.empty((len(images), 3, side, side), dtype=torch.uint8)
    for row, image in enumerate(images):
        stacked.numpy()[row] = image.pixels.transpose(2, 0, 1)
    return stacked


def _channels_first(pixels: Pixels) -> Tensor:
    """Transpose [N, side, side, 3] to a contiguous [N, 3, side, side]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _is_cifar10(class_of: dict[PurePosixPath, str]) -> bool:
    """Return whether a folder is CIFAR-10: its ten classes, each file named by its position."""
    if {*class_of.values()} != {*cifar10.CLASSES}:
        return False
    if not all(path.stem.isdecimal() for path in class_of):
        return False
    return len({int(path.stem) for path in class_of}) == len(class_of)

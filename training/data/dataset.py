"""Labelled images in memory: uint8 tensors, class names, unique ids, a fingerprint.

Sources are a folder `[train|test/]<class>/<image>`, the original CIFAR-10 batches, an archive of
either, or a download. Must not know splits, networks or training.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from training.data import cifar10
from training.data.archive import DAMAGED, NoSourceError, iter_files
from training.data.cifar10 import Partition
from training.data.folder_layout import LayoutError, assign_classes
from training.data.preprocessing import Pixels, to_pixels
from training.data.source import CIFAR10_KEY, Source, scan

IMAGE_SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".avif", ".heic", ".heif"),
    }
)
"""Suffixes of image files. A file with one that cannot be decoded is an error, not skipped."""


class DatasetError(RuntimeError):
    """The source has no usable data; the message names the place and the reason."""


class NoImagesError(DatasetError):
    """The source is readable, but has no images of the requested partition."""


@dataclass(frozen=True)
class Dataset:
    """Labelled images: `images` uint8 [N, 3, 32, 32], `labels` int64 [N], N unique `ids`."""

    name: str
    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_cifar10(self) -> bool:
        """Whether these are CIFAR-10's images in any encoding, recognised by their ids."""
        return all(name.startswith("cifar10-") for name in self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of class names, ids, labels and pixels."""
        digest = hashlib.sha256("\0".join((*self.classes, "", *self.ids)).encode())
        digest.update(self.labels.numpy().astype("<i8").tobytes())
        digest.update(self.images.contiguous().numpy().tobytes())
        return digest.hexdigest()


def load(
    source: Path,
    partition: Partition = "train",
    on_image: Callable[[], None] = lambda: None,
) -> Dataset:
    """Read one partition of the data in a folder or archive.

    Args:
        source: holds the original CIFAR-10 batches, `train/<class>/...` and `test/<class>/...`, or
            `<class>/...`, which is all training data.
        partition: to read.
        on_image: called after each decoded image.

    Raises:
        NoImagesError: the partition has no images.
        DatasetError: the source is missing, damaged, or has unreadable images; the message names
            them.

    """
    source = source.expanduser()
    if not source.exists():
        raise DatasetError(f"no data at {source}: no such file or folder")
    try:
        state = scan(source)
        if batches := cifar10.find(source):
            images = _from_batches(cifar10.read(batches, partition), partition)
        else:
            images = _from_images(source, partition, on_image)
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


def _from_batches(batches: CIFAR10, partition: Partition) -> Dataset:
    pixels = np.asarray(batches.data, dtype=np.uint8)
    return Dataset(
        name="cifar10",
        classes=tuple(batches.classes),
        images=_channels_first(pixels),
        labels=torch.tensor(batches.targets),
        ids=tuple(cifar10.canonical_id(partition, index) for index in range(len(pixels))),
    )


def _from_images(source: Path, partition: Partition, on_image: Callable[[], None]) -> Dataset:
    pixels: dict[PurePosixPath, Pixels] = {}
    unreadable: list[str] = []
    image_paths = [path for path, _ in iter_files(source) if _is_image(path)]
    try:
        partition_labels = assign_classes(image_paths)
    except LayoutError as error:
        raise DatasetError(f"{source}: {error}") from error
    class_of = {path: name for path, (part, name) in partition_labels.items() if part == partition}
    for path, read in iter_files(source):
        if path not in class_of:
            continue
        try:
            with Image.open(BytesIO(read())) as image:
                pixels[path] = to_pixels(image)
        except Exception as error:  # Pillow raises almost any exception for damaged images
            unreadable.append(f"{path} ({error})")
        on_image()
    if unreadable:
        shown = "; ".join(unreadable[:5]) + ("; ..." if len(unreadable) > 5 else "")
        raise DatasetError(f"{len(unreadable)} images in {source} cannot be read: {shown}")
    if not pixels:
        raise NoImagesError(
            f"no {partition} images in {source}: looked for {partition}/<class>/<image>"
            + (", for <class>/<image>" if partition == "train" else "")
            + " and for the original CIFAR-10 batches"
        )
    classes = tuple(sorted({class_of[path] for path in pixels}))
    label_of = {name: label for label, name in enumerate(classes)}
    paths = sorted(pixels)
    if _is_cifar10(paths, classes):
        paths.sort(key=lambda path: int(path.stem))
        ids = tuple(cifar10.canonical_id(partition, int(path.stem)) for path in paths)
        suffix = paths[0].suffix.lower().removeprefix(".")
        name = "cifar10-" + {"jpg": "jpeg"}.get(suffix, suffix)
    else:
        ids = _unique_ids([f"{partition}-{class_of[path]}-{path.name}" for path in paths])
        file_name = source.resolve().name
        name = re.sub(r"(\.tar)?\.\w+$", "", file_name) if source.is_file() else file_name
    return Dataset(
        name=name,
        classes=classes,
        images=_channels_first(np.stack([pixels[path] for path in paths])),
        labels=torch.tensor([label_of[class_of[path]] for path in paths]),
        ids=ids,
    )


def _channels_first(pixels: Pixels) -> Tensor:
    """Transpose [N, 32, 32, 3] to a contiguous [N, 3, 32, 32]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _is_image(path: PurePosixPath) -> bool:
    return len(path.parts) >= 2 and path.suffix.lower() in IMAGE_SUFFIXES


def _is_cifar10(paths: list[PurePosixPath], classes: tuple[str, ...]) -> bool:
    """Return whether a folder is CIFAR-10: its ten classes, each file named by its position."""
    if classes != cifar10.CLASSES or not all(path.stem.isdecimal() for path in paths):
        return False
    return len({int(path.stem) for path in paths}) == len(paths)


def _unique_ids(names: list[str]) -> tuple[str, ...]:
    """Make the names safe for URLs, and number equal ones."""
    ids: dict[str, None] = {}
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        candidate, number = safe, 1
        while candidate in ids:
            number += 1
            candidate = f"{safe}-{number}"
        ids[candidate] = None
    return tuple(ids)

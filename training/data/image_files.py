"""Image files of a folder or archive: which there are, and their pixels, decoded in parallel.

A file that cannot be read is named and left out. Must not know labels or networks.
"""

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Final

from PIL import Image, ImageOps

from training.data.archive import DAMAGED, iter_files
from training.data.formats import OTHER_SUFFIXES, SUFFIXES, describe_error, open_image
from training.data.preprocessing import SIZE, Pixels, reduce_jpeg, to_pixels, to_rgb

THUMBNAIL_SIDE: Final = 256
"""Maximum side of a thumbnail, in pixels."""
THUMBNAIL_QUALITY: Final = 85
SMALL_BYTES: Final = 16 * 1024
"""Up to this size, an image is decoded faster than it is handed to a thread."""
READ_AHEAD: Final = 4
"""Files in memory for each thread."""


@dataclass(frozen=True)
class Found:
    """The files of a source: images, and the folders that there are, with or without images."""

    images: tuple[PurePosixPath, ...]
    folders: tuple[PurePosixPath, ...]


@dataclass(frozen=True)
class Decoded:
    """The pixels that the network sees, and a thumbnail as JPEG if the image is larger.

    `digest` is a hash of the file.
    """

    path: PurePosixPath
    pixels: Pixels
    thumbnail: bytes | None
    digest: str


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be read, and why."""

    path: PurePosixPath
    reason: str


@dataclass(frozen=True)
class Thumbnails:
    """JPEG files in a temporary file, in the order of the data set; None for small images."""

    spans: tuple[tuple[int, int] | None, ...]
    descriptor: "TemporaryBytes"

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, position: int) -> bytes | None:
        span = self.spans[position]
        return None if span is None else self.descriptor.read(*span)


@dataclass
class TemporaryBytes:
    """A file without a name, which vanishes with this object."""

    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _end: int = 0

    def append(self, content: bytes) -> tuple[int, int]:
        """Write bytes; return where they begin, and how many they are."""
        start = self._end
        self._file.write(content)
        self._end += len(content)
        return start, len(content)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes that were written."""
        self._file.flush()
        return os.pread(self._file.fileno(), length, start)


def find_images(source: Path) -> Found:
    """List the image files of a source by their suffixes, without opening them."""
    folders: list[PurePosixPath] = []
    images = []
    for path, _ in iter_files(source, folders.append):
        folders.append(path.parent)
        if path.suffix.lower() in SUFFIXES | OTHER_SUFFIXES:
            images.append(path)
    return Found(tuple(images), tuple(dict.fromkeys(folders)))


def decode_all(
    source: Path, wanted: Collection[PurePosixPath], size: int = SIZE, *, thumbnails: bool = False
) -> Iterator[Decoded | Unreadable]:
    """Decode these files of a source, in stored order.

    Args:
        source: the folder or archive.
        wanted: paths of files, as `find_images` returned them.
        size: side of the network's input.
        thumbnails: makes thumbnails too.

    """
    threads = os.cpu_count() or 1
    waiting: deque[Future[Decoded | Unreadable]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for path, read in iter_files(source):
            if path not in wanted:
                continue
            try:
                data = read()
            except (*DAMAGED, RuntimeError, NotImplementedError, ValueError) as error:
                waiting.append(_done(Unreadable(path, describe_error(error))))
            else:
                if len(data) <= SMALL_BYTES:
                    waiting.append(_done(_decode(path, data, size, thumbnails)))
                else:
                    waiting.append(pool.submit(_decode, path, data, size, thumbnails))
            if len(waiting) > READ_AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def thumbnail_of(image: Image.Image, size: int) -> bytes | None:
    """Return the centre square of an RGB image as a JPEG; None if the network sees as much."""
    side = min(THUMBNAIL_SIDE, *image.size)
    if side <= size:
        return None
    file = BytesIO()
    ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC).save(
        file, "JPEG", quality=THUMBNAIL_QUALITY
    )
    return file.getvalue()


def _done(result: Decoded | Unreadable) -> Future[Decoded | Unreadable]:
    future: Future[Decoded | Unreadable] = Future()
    future.set_result(result)
    return future


def _decode(path: PurePosixPath, data: bytes, size: int, thumbnail: bool) -> Decoded | Unreadable:
    try:
        with open_image(data) as opened:
            reduce_jpeg(opened, size)
            image = to_rgb(opened)
        made = thumbnail_of(image, size) if thumbnail else None
        digest = hashlib.sha256(data).hexdigest()
        return Decoded(path, to_pixels(image, size=size), made, digest)
    except Exception as error:  # Pillow raises almost any exception for damaged images
        return Unreadable(path, describe_error(error))

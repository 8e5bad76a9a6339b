"""Iterate over the files of a folder or archive, in a stable order.

No file is extracted to disk, and at most one is in memory. Must not know image formats.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

FileIterator = Iterator[tuple[PurePosixPath, Callable[[], bytes]]]
"""Yields each path, and a function that reads its file until the next path is yielded."""

DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
)  # fmt: skip
"""The errors that reading a damaged folder or archive may raise."""


class NoSourceError(RuntimeError):
    """The source is missing, or is neither a folder nor a supported archive."""


def iter_files(source: Path) -> FileIterator:
    """Yield every file that is not hidden: of a folder by path, of an archive in stored order.

    Yields:
        The path inside the source, and a function that reads the file. In a tar it must be called
        before the next file is taken.

    Raises:
        NoSourceError: the source is missing, or neither a folder nor a tar or zip archive.

    """
    if not source.exists():
        raise NoSourceError(f"no data at {source}: no such file or folder")
    if source.is_dir():
        yield from _iter_folder(source, source)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            for member in tar:
                if member.isfile() and (stream := tar.extractfile(member)):
                    yield from _unless_hidden(PurePosixPath(member.name), stream.read)
            _require_end(tar)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from _unless_hidden(
                        PurePosixPath(info.filename), partial(archive.read, info)
                    )
    else:
        raise NoSourceError(f"{source} is neither a folder nor a tar or zip archive")


def file_reader(source: Path) -> Callable[[str], bytes]:
    """Return a function that reads a file of a folder or zip archive by its path.

    Raises:
        NoSourceError: the source is neither. A tar can only be read in stored order.

    """
    if source.is_dir():
        return lambda path: (source / path).read_bytes()
    if zipfile.is_zipfile(source):
        return zipfile.ZipFile(source).read
    raise NoSourceError(
        f"{source} is neither a folder nor a zip archive, so its files cannot be read in any "
        "order: extract it first"
    )


def _iter_folder(root: Path, folder: Path, parents: tuple[Path, ...] = ()) -> FileIterator:
    """Yield one directory at a time, so that the first file does not wait for a full listing.

    Links are followed, except those to a folder that contains them.
    """
    parents = (*parents, folder.resolve())
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = Path(entry.path)
        if entry.is_dir():
            if path.resolve() not in parents:
                yield from _iter_folder(root, path, parents)
        elif entry.is_file():
            yield from _unless_hidden(PurePosixPath(path.relative_to(root)), path.read_bytes)


def _require_end(tar: tarfile.TarFile) -> None:
    """Check that only zeros follow the end, since `tarfile` treats a damaged header as the end.

    Reading to the end also makes the decompressor compare its checksum.
    """
    while tar.fileobj and (rest := tar.fileobj.read(1 << 20)):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("the archive is damaged: data follows its end")


def _unless_hidden(path: PurePosixPath, read: Callable[[], bytes]) -> FileIterator:
    if not any(part.startswith((".", "__")) for part in path.parts):
        yield path, read

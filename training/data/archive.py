"""The files of a folder or archive, one after the other, in an order that stays.

Nothing is extracted to disk, and no more than one file is in memory. Knows nothing of pictures.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

Members = Iterator[tuple[PurePosixPath, Callable[[], bytes]]]
"""The path inside, and how to read it: at once, for a tar goes on."""


DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
)  # fmt: skip
"""What reading a damaged folder or archive may raise."""


class NoSourceError(RuntimeError):
    """Neither a folder nor an archive that is read here."""


def iter_files(source: Path) -> Members:
    """Every file, but hidden ones: a folder's sorted by path, an archive's as they lie in it."""
    if not source.exists():
        raise NoSourceError(f"no data at {source}: there is no such file or folder")
    if source.is_dir():
        yield from _of_folder(source, source)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            for member in tar:
                if member.isfile() and (stream := tar.extractfile(member)):
                    yield from _visible(PurePosixPath(member.name), stream.read)
            _require_end(tar)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from _visible(PurePosixPath(info.filename), partial(archive.read, info))
    else:
        raise NoSourceError(f"{source} is neither a folder nor a tar or zip archive")


def reader(source: Path) -> Callable[[str], bytes]:
    """What reads a file of a folder or zip archive by its path.

    Raises:
        NoSourceError: neither of the two; a tar can only be read from its beginning.

    """
    if source.is_dir():
        return lambda path: (source / path).read_bytes()
    if zipfile.is_zipfile(source):
        return zipfile.ZipFile(source).read
    raise NoSourceError(
        f"{source} is neither a folder nor a zip archive, so its files cannot be read in any "
        "order: unpack it"
    )


def _of_folder(root: Path, folder: Path, inside: tuple[Path, ...] = ()) -> Members:
    """A directory at a time, so that millions of files are not listed before the first is read.

    Links are followed, but back into a folder that they lie in.
    """
    inside = (*inside, folder.resolve())
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = Path(entry.path)
        if entry.is_dir():
            if path.resolve() not in inside:
                yield from _of_folder(root, path, inside)
        elif entry.is_file():
            yield from _visible(PurePosixPath(path.relative_to(root)), path.read_bytes)


def _require_end(tar: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end; behind the real end there are only zeros.

    Reading that far also has the decompressor compare its checksum.
    """
    while tar.fileobj and (rest := tar.fileobj.read(1 << 20)):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("the archive is damaged: it goes on behind its end")


def _visible(path: PurePosixPath, read: Callable[[], bytes]) -> Members:
    if not any(part.startswith((".", "__")) for part in path.parts):
        yield path, read

"""Iterate over the files of a folder or archive, in a stable order.

No file is extracted to disk, and at most one is in memory. Must not know image formats.
"""

import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from training.data.names import readable

FileIterator = Iterator[tuple[PurePosixPath, Callable[[], bytes]]]
"""Yields each path, and a function that reads its file until the next path is yielded."""
OnFolder = Callable[[PurePosixPath], None]

DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
)  # fmt: skip
"""The errors that reading a damaged folder or archive may raise."""
SYSTEM_FOLDERS: Final = ("@eaDir", "#recycle", "$RECYCLE.BIN")
"""Folders that NAS systems and Windows put beside pictures. Those of macOS begin with . or __."""
MAX_LINKS: Final = 40
"""Links that are followed one after the other, as on Linux."""


class NoSourceError(RuntimeError):
    """The source is missing, or is neither a folder nor a supported archive."""


class LinkError(OSError):
    """A link leads to nothing that can be read."""


def iter_files(source: Path, on_folder: OnFolder = lambda _: None) -> FileIterator:
    """Yield every file that is not hidden: of a folder by path, of an archive in stored order.

    Links to files are read as the file. A link to nothing is yielded, and reading it fails. Names
    are made readable.

    Args:
        source: the folder, or the tar or zip archive.
        on_folder: called with the path of each folder that is not hidden.

    Yields:
        The path inside the source, and a function that reads the file. In a tar it must be called
        before the next file is taken.

    Raises:
        NoSourceError: the source is missing, or neither a folder nor a tar or zip archive.

    """
    if not source.exists():
        raise NoSourceError(f"no data at {source}: no such file or folder")
    if source.is_dir():
        found = _iter_folder(source, PurePosixPath(), on_folder)
    elif tarfile.is_tarfile(source):
        found = _iter_tar(source, on_folder)
    elif zipfile.is_zipfile(source):
        found = _iter_zip(source, on_folder)
    else:
        raise NoSourceError(f"{source} is neither a folder nor a tar or zip archive")
    yield from ((path, read) for path, read in found if not _is_hidden(path))


def file_reader(source: Path) -> Callable[[str], bytes]:
    """Return a function that reads a file of a folder or zip archive by its path.

    Raises:
        NoSourceError: the source is neither. A tar can only be read in stored order.

    """
    if source.is_dir():
        return lambda path: (source / path).read_bytes()
    if zipfile.is_zipfile(source):
        readers = {str(path): read for path, read in _iter_zip(source, lambda _: None)}
        return lambda path: readers[path]()
    raise NoSourceError(
        f"{source} is neither a folder nor a zip archive, so its files cannot be read in any "
        "order: extract it first"
    )


def _iter_folder(
    folder: Path, inside: PurePosixPath, on_folder: OnFolder, parents: tuple[Path, ...] = ()
) -> FileIterator:
    """Yield one directory at a time, so that the first file does not wait for a full listing.

    Links are followed, except those to a folder that contains them.
    """
    parents = (*parents, folder.resolve())
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path, name = Path(entry.path), inside / readable(entry.name)
        if _is_hidden(name):
            continue
        if path.is_dir():
            if path.resolve() not in parents:
                on_folder(name)
                yield from _iter_folder(path, name, on_folder, parents)
        elif path.is_file():
            yield name, path.read_bytes
        elif entry.is_symlink():
            yield name, partial(_fail, "the link leads to nothing")


def _iter_tar(source: Path, on_folder: OnFolder) -> FileIterator:
    with tarfile.open(source) as tar:
        for member in tar:
            path = PurePosixPath(readable(member.name))
            if member.isdir() and not _is_hidden(path):
                on_folder(path)
            elif member.isfile() or member.islnk() or member.issym():
                yield path, partial(_read_member, tar, member)
        _require_end(tar)


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        stream = tar.extractfile(member)
    except (KeyError, RecursionError) as error:
        raise LinkError("the link leads to nothing in the archive") from error
    if stream is None:
        raise LinkError("the link leads to a folder, which is not followed in an archive")
    return stream.read()


def _iter_zip(source: Path, on_folder: OnFolder) -> FileIterator:
    archive = zipfile.ZipFile(source)
    entries = [(_zip_path(info), info) for info in archive.infolist()]
    by_path = {str(path): info for path, info in entries}
    for path, info in entries:
        if info.filename.endswith(("/", "\\")):
            if not _is_hidden(path):
                on_folder(path)
        elif _is_zip_link(info):
            yield path, partial(_read_zip_link, archive, by_path, path, info)
        else:
            yield path, partial(archive.read, info)


def _zip_path(info: zipfile.ZipInfo) -> PurePosixPath:
    """Return the path of an entry. Some programs write backslashes, or UTF-8 without saying so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return PurePosixPath("/".join(map(readable, name.replace("\\", "/").split("/"))))


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _read_zip_link(
    archive: zipfile.ZipFile,
    by_path: dict[str, zipfile.ZipInfo],
    path: PurePosixPath,
    info: zipfile.ZipInfo,
) -> bytes:
    """Read the file that a symbolic link leads to; a zip stores the path as its content."""
    for _ in range(MAX_LINKS):
        target = archive.read(info).decode("utf-8", "replace")
        path = PurePosixPath(posixpath.normpath(path.parent / target))
        if (found := by_path.get(str(path))) is None:
            break
        if not _is_zip_link(found):
            return archive.read(found)
        info = found
    raise LinkError("the link leads to no file in the archive")


def _fail(reason: str) -> NoReturn:
    raise LinkError(reason)


def _require_end(tar: tarfile.TarFile) -> None:
    """Check that only zeros follow the end, since `tarfile` treats a damaged header as the end.

    Reading to the end also makes the decompressor compare its checksum.
    """
    if tar.fileobj and tar.fileobj.tell() < tar.offset:  # a link was read from an earlier place
        tar.fileobj.seek(tar.offset)
    while tar.fileobj and (rest := tar.fileobj.read(1 << 20)):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("the archive is damaged: data follows its end")


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__")) or part in SYSTEM_FOLDERS for part in path.parts)

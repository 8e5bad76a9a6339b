"""CIFAR-10's original batches, downloaded, verified and read by torchvision.

The batches are pickles: torchvision checks their MD5 before it opens them. Must not know image
folders or training.
"""

import socket
import tarfile
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

Partition = Literal["train", "test"]

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
MARKER = "data_batch_1"
"""A file that shows where the batches are."""
CONNECT_TIMEOUT = 5.0
"""Seconds within which the download site must respond."""
READ_TIMEOUT = 30.0
"""Seconds that a running download may receive no data."""


class BatchesError(RuntimeError):
    """The original batches cannot be downloaded or verified; the message states the reason."""


def canonical_id(partition: Partition, position: int) -> str:
    """Return the id of a CIFAR-10 image, made of its position in the original batches."""
    return f"cifar10-{partition}-{position:05d}"


def reader_class() -> "type[CIFAR10]":
    """Return torchvision's reader."""
    from torchvision.datasets import CIFAR10  # noqa: PLC0415 - takes seconds; other images need none

    reader: type[CIFAR10] = CIFAR10
    return reader


def download(root: Path, partition: Partition) -> "CIFAR10":
    """Download the batches into `root`, unless they are there, and verify them.

    Raises:
        BatchesError: the site does not respond within five seconds, or the files do not verify.

    """
    reader = reader_class()
    archive = root / reader.filename
    if _corrupt_files(root / reader.base_folder) and not _verifies(archive, reader.tgz_md5):
        _require_reachable(reader.url)
    try:
        with _socket_timeout(READ_TIMEOUT):
            return reader(str(root), train=partition == "train", download=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise BatchesError(f"CIFAR-10 could not be downloaded into {root}: {error}") from error


def find(source: Path) -> Path | None:
    """Find the original batches in `source`: return their folder or archive, or None."""
    if source.is_dir():
        return next((path.parent for path in source.rglob(MARKER)), None)
    names: list[str] = []
    if tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            # The original archive has eight files, so larger archives need not be read to the end.
            names = [member.name for member in islice(archive, 100)]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    return source if MARKER in (PurePosixPath(name).name for name in names) else None


def read(location: Path, partition: Partition) -> "CIFAR10":
    """Read the batches from the folder or archive that `find` returned.

    Raises:
        BatchesError: a batch is missing or does not verify; the message names it.

    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = location
        if location.is_file():
            _extract(location, Path(scratch))
            folder = find(Path(scratch)) or Path(scratch)
        if corrupt := _corrupt_files(folder):
            raise BatchesError(
                f"the CIFAR-10 batches in {location} do not verify: "
                f"{', '.join(corrupt)} missing or damaged"
            )
        reader = type("Batches", (reader_class(),), {"base_folder": folder.name})
        return reader(str(folder.parent), train=partition == "train")


def _extract(archive: Path, folder: Path) -> None:
    """Extract the files of the batches by their names; no other file gets to disk."""
    names = {name for name, _ in _expected_files()}
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in names and (stream := tar.extractfile(member)):
                    (folder / name).write_bytes(stream.read())
    else:
        with zipfile.ZipFile(archive) as zipped:
            for path in zipped.namelist():
                if (name := PurePosixPath(path).name) in names:
                    (folder / name).write_bytes(zipped.read(path))


def _corrupt_files(folder: Path) -> list[str]:
    """List the files of the original batches that are missing in `folder` or damaged."""
    return [name for name, md5 in _expected_files() if not _verifies(folder / name, md5)]


def _verifies(file: Path, md5: str) -> bool:
    """Return whether a file exists and has this MD5."""
    from torchvision.datasets.utils import check_integrity  # noqa: PLC0415 - as `reader_class`

    return bool(check_integrity(file, md5))


def _expected_files() -> list[tuple[str, str]]:
    """Return the names of the original files with their MD5."""
    reader = reader_class()
    listed = [*reader.train_list, *reader.test_list]
    return [*((name, md5) for name, md5 in listed), (reader.meta["filename"], reader.meta["md5"])]


def _require_reachable(url: str) -> None:
    """Fail fast if the site cannot be reached: a DNS lookup alone can take minutes."""
    outcome: list[Exception | None] = []

    def connect() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - torchvision's URL
            urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT).close()  # noqa: S310 - as above
            outcome.append(None)
        except (OSError, HTTPException, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    reason = outcome[0] if outcome else f"no response within {CONNECT_TIMEOUT:.0f} s"
    if reason is not None:
        raise BatchesError(f"CIFAR-10 cannot be downloaded from {url}: {reason}")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the default socket timeout, as torchvision sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

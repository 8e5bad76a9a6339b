"""CIFAR-10's own form: the original batches, read and verified by torchvision.

The batches are pickles: torchvision checks their MD5 before it opens them. Knows nothing of image
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
from typing import Literal

from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

Partition = Literal["train", "test"]

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
REACH_SECONDS = 5.0
"""How long the download site may take to answer before it counts as out of reach."""
STALL_SECONDS = 30.0
"""How long a running download may stand still."""


class BatchesError(RuntimeError):
    """The original batches are out of reach or do not verify; the message says why."""


def canonical_id(partition: Partition, position: int) -> str:
    """The id of a CIFAR-10 image: its position in the original batches."""
    return f"cifar10-{partition}-{position:05d}"


def download(root: Path, partition: Partition) -> CIFAR10:
    """The batches, downloaded into `root` once and verified.

    Raises:
        BatchesError: the site cannot be reached within ten seconds, or what came does not verify.

    """
    archive = root / CIFAR10.filename
    if _corrupt_files(root / CIFAR10.base_folder) and not check_integrity(archive, CIFAR10.tgz_md5):
        _require_reachable(CIFAR10.url)
    try:
        with _socket_timeout(STALL_SECONDS):
            return CIFAR10(str(root), train=partition == "train", download=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise BatchesError(f"CIFAR-10 could not be downloaded into {root}: {error}") from error


def find(source: Path) -> Path | None:
    """Where under `source` the original batches are: their folder, their archive, or nowhere."""
    marker = CIFAR10.train_list[0][0]
    if source.is_dir():
        return next((path.parent for path in source.rglob(marker)), None)
    names: list[str] = []
    if tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            # The original archive has eight files; there is no need to read all of a larger one.
            names = [member.name for member in islice(archive, 100)]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    return source if marker in (PurePosixPath(name).name for name in names) else None


def read(found: Path, partition: Partition) -> CIFAR10:
    """The batches that `find` found.

    Raises:
        BatchesError: a batch is missing or does not verify.

    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = found
        if found.is_file():
            _extract(found, Path(scratch))
            folder = find(Path(scratch)) or Path(scratch)
        if wrong := _corrupt_files(folder):
            raise BatchesError(
                f"the CIFAR-10 batches in {found} do not verify: "
                f"{', '.join(wrong)} missing or damaged"
            )
        reader = type("Batches", (CIFAR10,), {"base_folder": folder.name})
        return reader(str(folder.parent), train=partition == "train")


def _extract(archive: Path, folder: Path) -> None:
    """The files of the batches alone, by their names: nothing else of an archive gets to disk."""
    names = {name for name, _ in _files()}
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
    """The files of the original batches that are missing in `folder` or are not what they were."""
    return [name for name, md5 in _files() if not check_integrity(str(folder / name), md5)]


def _files() -> list[tuple[str, str]]:
    """The original batches, with their sums."""
    listed = [*CIFAR10.train_list, *CIFAR10.test_list]
    return [*((name, md5) for name, md5 in listed), (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]


def _require_reachable(url: str) -> None:
    """Fail fast where there is no way out: a name look-up alone can hang for minutes."""
    outcome: list[Exception | None] = []

    def knock() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - torchvision's url
            urllib.request.urlopen(request, timeout=REACH_SECONDS).close()  # noqa: S310 - the same
            outcome.append(None)
        except (OSError, HTTPException, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    reason = outcome[0] if outcome else f"no answer within {REACH_SECONDS:.0f} s"
    if reason is not None:
        raise BatchesError(f"CIFAR-10 cannot be downloaded from {url}: {reason}")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

"""CIFAR-10's own form: the original batches, read and verified by torchvision.

The batches are pickles: torchvision checks their MD5 before it opens them. Knows nothing of image
folders or training.
"""

import socket
import tarfile
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from torchvision.datasets import CIFAR10

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
    if not (root / CIFAR10.base_folder).is_dir():
        _require_reachable(CIFAR10.url)
    try:
        with _socket_timeout(STALL_SECONDS):
            return CIFAR10(str(root), train=partition == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise BatchesError(f"CIFAR-10 could not be downloaded into {root}: {error}") from error


def find(source: Path) -> Path | None:
    """Where under `source` the original batches are: their folder, their archive, or nowhere."""
    marker = CIFAR10.train_list[0][0]
    if source.is_dir():
        return next((path.parent for path in source.rglob(marker)), None)
    if tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            # The original archive has eight files; there is no need to read all of a larger one.
            names = (PurePosixPath(member.name).name for member in islice(archive, 10))
            return source if marker in names else None
    return None


def read(found: Path, partition: Partition) -> CIFAR10:
    """The batches that `find` found.

    Raises:
        BatchesError: a batch is missing or does not verify.

    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = found
        if found.is_file():
            with tarfile.open(found) as archive:
                archive.extractall(scratch, filter="data")
            folder = find(Path(scratch)) or Path(scratch)
        reader = type("Batches", (CIFAR10,), {"base_folder": folder.name})
        try:
            return reader(str(folder.parent), train=partition == "train")
        except RuntimeError as error:
            raise BatchesError(f"the CIFAR-10 batches in {found} do not verify: {error}") from error


def _require_reachable(url: str) -> None:
    """Fail fast where there is no way out: a name look-up alone can hang for minutes."""
    outcome: list[OSError | None] = []

    def knock() -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - torchvision's own url
        try:
            urllib.request.urlopen(request, timeout=REACH_SECONDS).close()  # noqa: S310 - the same
            outcome.append(None)
        except OSError as error:
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

"""Uploads the images of a folder in batches. A repeated upload skips those that were added before.

Knows files and the client, but not terminals.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from kindred import Client, Fit, New, ProblemError
from kindred.models import Limits
from service.schemas.gallery import UpsertResult

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp"),
        *(".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Suffixes of files in the formats that the service reads."""
BATCH_SIZE = 16
"""Images in a request at most. Larger requests delay concurrent searches."""
BATCH_BYTES = 16 * 2**20
"""Bytes of a request at most, even if the service accepts more: they are held in memory."""
REFUSED = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
"""Statuses caused by one image, so that the others of its batch may be accepted."""
_BODY_OVERHEAD = len('{"images": []}') - len(", ")
"""Bytes of a request without its images. Each image counts with a comma; the last has none."""


@dataclass(frozen=True)
class Result:
    """The response to one file, or the reason why it was not added."""

    file: Path
    response: UpsertResult | str


@dataclass(frozen=True)
class _Entry:
    """An image to be sent, and its bytes as part of a request."""

    file: Path
    new: New
    size: int


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the image files below a folder, and the files that are none by their suffix; sorted.

    Links are followed, except those to a folder that contains them. Hidden files are skipped.
    """
    images: list[Path] = []
    others: list[Path] = []
    for file in _visible_files(folder, frozenset()):
        (images if file.suffix.lower() in SUFFIXES else others).append(file)
    return sorted(images), sorted(others)


def _visible_files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _visible_files(entry, above | {real})
        else:
            yield entry


def upload_files(
    kindred: Client, folder: Path, files: Sequence[Path], fit: Fit = "crop"
) -> Iterator[Result]:
    """Upload files of a folder, and yield a result for each. A sub-folder's name is the label.

    A request has as many images as its limits allow. A file that cannot be read or is refused has
    the reason as its result. Ids are derived from paths within the folder, so that a repeated
    upload adds nothing twice.

    Raises:
        ProblemError: the service refuses for a reason other than the images.
        UnreachableError: the service does not answer.

    """
    limits = kindred.model().limits
    max_size, max_bytes = min(BATCH_SIZE, limits.images), min(BATCH_BYTES, limits.body_bytes)
    batch: list[_Entry] = []
    size = _BODY_OVERHEAD
    for file in files:
        entry = _read(folder, file, limits)
        if isinstance(entry, Result):
            yield entry
            continue
        if batch and (len(batch) == max_size or size + entry.size > max_bytes):
            yield from _send(kindred, batch, fit)
            batch, size = [], _BODY_OVERHEAD
        batch.append(entry)
        size += entry.size
    if batch:
        yield from _send(kindred, batch, fit)


def _read(folder: Path, file: Path, limits: Limits) -> _Entry | Result:
    """Read an image, unless it is larger than one request may be."""
    new = _new(folder, file)
    metadata = json.dumps(dataclasses.replace(new, picture=b"").body())
    try:
        length = file.stat().st_size
        encoded = 4 * -(-length // 3)  # as base64
        size = len(metadata) + len(", ") + encoded
        if size + _BODY_OVERHEAD > limits.body_bytes:
            return Result(
                file,
                f"The file has {length:,} bytes, {encoded:,} in a request, of which the service "
                f"accepts {limits.body_bytes:,}: make the image smaller.",
            )
        return _Entry(file, dataclasses.replace(new, picture=file.read_bytes()), size)
    except OSError as error:
        return Result(file, f"The file cannot be read: {error.strerror}.")


def _send(kindred: Client, batch: Sequence[_Entry], fit: Fit) -> Iterator[Result]:
    """Send a batch. If it is refused as a whole, send each of its images separately."""
    try:
        responses = kindred.add_many([entry.new for entry in batch], fit=fit)
    except ProblemError as error:
        if error.status not in REFUSED:
            raise
        if len(batch) == 1:
            yield Result(batch[0].file, error.problem.detail)
            return
        for entry in batch:
            yield from _send(kindred, [entry], fit)
        return
    for entry, response in zip(batch, responses, strict=True):
        yield Result(
            entry.file, response if isinstance(response, UpsertResult) else response.detail
        )


def _new(folder: Path, file: Path) -> New:
    path = file.relative_to(folder)
    label = _readable(path.parts[0]) if len(path.parts) > 1 else None
    name = path.as_posix()
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
    return New(file, label=label, attributes={"file": _readable(name)[-256:]}, id=f"file-{digest}")


def _readable(name: str) -> str:
    """Read bytes of a name that are not UTF-8 as Latin-1; Python keeps them as surrogates."""
    encoded = name.encode(errors="surrogateescape")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded.decode("latin-1")

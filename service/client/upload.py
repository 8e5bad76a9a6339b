"""Adds the pictures of a folder, several at a time, so that a repetition goes on where it was.

Knows files and the client; nothing of terminals.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from service.client import Fit, Kindred, New, ProblemError
from service.client.models import Limits
from service.schemas.gallery import UpsertResult

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
BATCH = 16
"""Pictures at once: more keep whoever searches meanwhile waiting."""
BATCH_BYTES = 16 * 2**20
"""Bytes of a request at once, however many the service takes; they are in memory here."""
REFUSED = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
"""The statuses that are about a picture, and leave hope for those beside it."""
_BODY_OVERHEAD = len('{"images": []}') - len(", ")
"""Bytes of a request beside its pictures, each with a comma behind it, the last without."""


@dataclass(frozen=True)
class Result:
    """What became of one picture, or why it was not added."""

    file: Path
    said: UpsertResult | str


@dataclass(frozen=True)
class _Read:
    """A picture that is to be sent, and its bytes as part of a request."""

    file: Path
    new: New
    size: int


def pictures(folder: Path) -> list[Path]:
    """The pictures below a folder, in order."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def add(
    kindred: Kindred, folder: Path, files: Sequence[Path], fit: Fit = "crop"
) -> Iterator[Result]:
    """Add these pictures of a folder; those in a sub-folder are labelled by its name.

    As many go at once as one request may hold. One that cannot be sent, or is refused, is said so,
    and the others go on. An id is made of a picture's place in the folder, so that none is added
    twice.
    """
    limits = kindred.model().limits
    most, most_bytes = min(BATCH, limits.images), min(BATCH_BYTES, limits.body_bytes)
    batch: list[_Read] = []
    size = _BODY_OVERHEAD
    for file in files:
        read = _read(folder, file, limits)
        if isinstance(read, Result):
            yield read
            continue
        if batch and (len(batch) == most or size + read.size > most_bytes):
            yield from _send(kindred, batch, fit)
            batch, size = [], _BODY_OVERHEAD
        batch.append(read)
        size += read.size
    if batch:
        yield from _send(kindred, batch, fit)


def _read(folder: Path, file: Path, limits: Limits) -> _Read | Result:
    """Read a picture, unless it is larger than one request may be: then it is left on the disk."""
    new = _new(folder, file)
    said = json.dumps(dataclasses.replace(new, picture=b"").body())
    try:
        length = file.stat().st_size
        size = len(said) + len(", ") + 4 * -(-length // 3)  # as base64
        if size + _BODY_OVERHEAD > limits.body_bytes:
            return Result(
                file,
                f"It has {length:,} bytes, a third more on the way, and the service takes "
                f"{limits.body_bytes:,} at once: make it smaller.",
            )
        return _Read(file, dataclasses.replace(new, picture=file.read_bytes()), size)
    except OSError as error:
        return Result(file, f"It cannot be read: {error.strerror}.")


def _send(kindred: Kindred, batch: Sequence[_Read], fit: Fit) -> Iterator[Result]:
    """Add a batch; where it is refused as a whole, each of it on its own."""
    try:
        said = kindred.add_many([one.new for one in batch], fit=fit)
    except ProblemError as error:
        if error.status not in REFUSED:
            raise
        if len(batch) == 1:
            yield Result(batch[0].file, error.problem.detail)
            return
        for one in batch:
            yield from _send(kindred, [one], fit)
        return
    for one, answer in zip(batch, said, strict=True):
        yield Result(one.file, answer if isinstance(answer, UpsertResult) else answer.detail)


def _new(folder: Path, file: Path) -> New:
    place = file.relative_to(folder)
    label = place.parts[0] if len(place.parts) > 1 else None
    digest = hashlib.sha256(place.as_posix().encode()).hexdigest()[:16]
    return New(file, label=label, attributes={"file": place.as_posix()[-256:]}, id=f"file-{digest}")

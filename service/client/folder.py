"""Adds the pictures of a folder, several at a time, so that a repetition goes on where it was.

Knows files and the client; nothing of terminals.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from service.client.gallery import Gallery
from service.client.gallery_calls import New
from service.wire import Kept, Problem

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
BATCH = 16
"""Pictures at once: more keep whoever searches meanwhile waiting."""


@dataclass(frozen=True)
class Result:
    """What became of one picture."""

    file: Path
    said: Kept | Problem


def pictures(folder: Path) -> list[Path]:
    """The pictures below a folder, in order."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def add(kindred: Gallery, folder: Path, files: Sequence[Path]) -> Iterator[Result]:
    """Add these pictures of a folder; those in a sub-folder are labelled by its name.

    An id is made of a picture's place in the folder, so that none is added twice.
    """
    waiting = iter(files)
    while some := list(islice(waiting, BATCH)):
        said = kindred.add_many([_new(folder, file) for file in some])
        yield from map(Result, some, said)


def _new(folder: Path, file: Path) -> New:
    place = file.relative_to(folder)
    label = place.parts[0] if len(place.parts) > 1 else None
    digest = hashlib.sha256(place.as_posix().encode()).hexdigest()[:16]
    return New(file, label=label, attributes={"file": place.as_posix()[-256:]}, id=f"file-{digest}")

"""The folder or archive that images are read from: its key, and what tells that it has changed.

Works on paths, sizes and times; must not open images.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from training.base_model import Frozen

CIFAR10_KEY = "cifar10"
"""The key of CIFAR-10 in any encoding and at any path."""


class Source(Frozen):
    """The state of a folder or archive: `key` stays while the rest changes.

    `files` counts the files that are not hidden, `bytes` adds their sizes. `newest` is the latest
    time at which a file or a folder changed; a file that was moved changes its folder.
    """

    key: str
    files: int
    bytes: int
    newest: datetime

    def has_changed(self, now: "Source") -> bool:
        """Return whether files were added, removed, moved or changed since."""
        return (self.files, self.bytes, self.newest) != (now.files, now.bytes, now.newest)


def key_of(path: Path) -> str:
    """Return a name for the images at a path: the name of the file, and a hash of the path."""
    path = path.expanduser().resolve()
    name = re.sub(r"\.(tar|tgz|zip)\b.*$", "", path.name) or "images"
    return f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"


def scan(path: Path) -> Source:
    """Count the files of a folder, or take an archive as one file."""
    found = [*_walk(path, ())]
    files = [state for state, is_file in found if is_file]
    return Source(
        key=key_of(path),
        files=len(files),
        bytes=sum(state.st_size for state in files),
        newest=datetime.fromtimestamp(max(state.st_mtime for state, _ in found), UTC),
    )


def file_state(source: Path, path: PurePosixPath) -> str:
    """Return the size and time of a file of a folder; "" if they are unknown, as in an archive."""
    try:
        state = (source / path).stat()
    except (OSError, ValueError):
        return ""
    return f"{state.st_size}-{state.st_mtime_ns}"


def _walk(path: Path, parents: tuple[Path, ...]) -> Iterator[tuple[os.stat_result, bool]]:
    """Yield the state of each file and folder, and whether it is a file."""
    yield path.stat(), path.is_file()
    if not path.is_dir():
        return
    parents = (*parents, path.resolve())
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__")):
                continue
            inside = Path(entry.path)
            if inside.is_dir():  # unlike `entry.is_dir`, False for a link to itself
                if not entry.is_symlink() or inside.resolve() not in parents:
                    yield from _walk(inside, parents)
            elif inside.is_file():
                yield entry.stat(), True

"""Names of files and folders as text that can be shown, stored and put into a URL."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

MAX_ID_LENGTH: Final = 100
DIGEST_LENGTH: Final = 6


def readable(name: str) -> str:
    """Return a name with bytes that are not UTF-8 read as Latin-1, and control characters escaped.

    Python keeps such bytes as lone surrogates, which can be neither printed nor stored.
    """
    if any(0xDC80 <= ord(character) <= 0xDCFF for character in name):
        name = os.fsencode(name).decode("latin-1")
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cs")
        else character
        for character in name
    )


def class_name(folder: str) -> str:
    """Return the class of a folder: its readable name in composed form (NFC).

    macOS stores names decomposed, so one class may have folders with both forms.
    """
    return unicodedata.normalize("NFC", readable(folder))


def unique_ids(paths: Sequence[str]) -> tuple[str, ...]:
    """Return an id for each path that is safe in a URL; those that would be equal get a hash."""
    safe = [_safe(path) for path in paths]
    count = Counter(safe)
    ids = [
        name if name and count[name] == 1 else f"{name}-{_digest(path)}".lstrip("-")
        for name, path in zip(safe, paths, strict=True)
    ]
    return tuple(ids) if len({*ids}) == len(ids) else _numbered(ids)


def distinct_ids(ids: Sequence[str], taken: Collection[str]) -> tuple[str, ...]:
    """Return ids that differ from those that are taken; one that does not gets a number."""
    return _numbered([*taken, *ids])[len(taken) :]


def _safe(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path)[-MAX_ID_LENGTH:].lstrip("-._")


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:DIGEST_LENGTH]


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    ids: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in ids:
            number += 1
            candidate = f"{name}-{number}"
        ids[candidate] = None
    return tuple(ids)

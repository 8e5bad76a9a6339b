"""Who makes what: a file beside the thing, that can be created once.

So work is shared out among processes, or machines with a common folder, without anybody to ask.
Knows files; nothing of what is made.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from training.base_model import Frozen

LEASE_SECONDS = 900.0
"""Seconds after which a claim that nobody renews is taken over."""


class _Holder(Frozen):
    host: str
    process: int
    token: str


@contextmanager
def lease(file: Path, stale: float = LEASE_SECONDS) -> Iterator[Callable[[], None] | None]:
    """Be the only one that makes `file`.

    A claim counts for nothing when its process is gone from this machine, or has not renewed it for
    `stale` seconds. Should two take over at the very same time, both make the file: it is made
    twice, and is as good as once where it is put in its place by a rename.

    Yields:
        What renews the claim, to be called now and then; None where another has it.

    """
    place = file.with_suffix(".claim")
    mine = _Holder(host=socket.gethostname(), process=os.getpid(), token=uuid.uuid4().hex)
    if not _take(place, mine) and not (_is_expired(place, stale) and _take_over(place, mine)):
        yield None
        return
    try:
        yield lambda: _renew(place)
    finally:
        if _holder(place) == mine:
            place.unlink(missing_ok=True)


def _take(place: Path, mine: _Holder) -> bool:
    """Create the claim, whole, unless there is one."""
    temporary = place.with_name(f".{place.name}-{mine.token}")
    temporary.write_text(mine.model_dump_json(), encoding="utf-8")
    try:
        os.link(temporary, place)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _take_over(place: Path, mine: _Holder) -> bool:
    aside = place.with_name(f".{place.name}-{mine.token}-dead")
    try:
        place.rename(aside)  # of those who try, one succeeds
    except FileNotFoundError:
        return _take(place, mine)
    aside.unlink()
    return _take(place, mine)


def _renew(place: Path) -> None:
    try:
        os.utime(place)
    except FileNotFoundError:  # it was taken over: this process slept longer than it may
        return


def _holder(place: Path) -> _Holder | None:
    try:
        return _Holder.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None


def _is_expired(place: Path, stale: float) -> bool:
    holder = _holder(place)
    if holder and holder.host == socket.gethostname() and not _is_running(holder.process):
        return True
    try:
        return time.time() - place.stat().st_mtime > stale
    except FileNotFoundError:
        return True


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

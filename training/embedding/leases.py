"""Leases on files, so that processes or machines with a common folder divide work.

A lease is a file that can be created only once. There is no coordinator. Works on files; must not
know what they contain.
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
"""Seconds after which a lease that was not renewed may be taken over."""


class _Holder(Frozen):
    host: str
    process: int
    token: str


@contextmanager
def lease(file: Path, duration: float = LEASE_SECONDS) -> Iterator[Callable[[], None] | None]:
    """Hold the lease on writing `file`.

    A lease has expired if its process no longer runs on this machine, or if it was not renewed for
    `duration` seconds. If two processes take over an expired lease at the same moment, both write
    the file. That is harmless if the file is written under another name and then renamed.

    Yields:
        A function that renews the lease, to be called regularly; None if another process holds it.

    """
    lease_file = file.with_suffix(".claim")
    holder = _Holder(host=socket.gethostname(), process=os.getpid(), token=uuid.uuid4().hex)
    if not _acquire(lease_file, holder) and not (
        _is_expired(lease_file, duration) and _take_over(lease_file, holder)
    ):
        yield None
        return
    try:
        yield lambda: _renew(lease_file)
    finally:
        if _read_holder(lease_file) == holder:
            lease_file.unlink(missing_ok=True)


def _acquire(lease_file: Path, holder: _Holder) -> bool:
    """Create the lease file with its content, in one step; return whether that succeeded."""
    temporary = lease_file.with_name(f".{lease_file.name}-{holder.token}")
    temporary.write_text(holder.model_dump_json(), encoding="utf-8")
    try:
        os.link(temporary, lease_file)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _take_over(lease_file: Path, holder: _Holder) -> bool:
    expired = lease_file.with_name(f".{lease_file.name}-{holder.token}-expired")
    try:
        lease_file.rename(expired)  # succeeds for one process only
    except FileNotFoundError:
        return _acquire(lease_file, holder)
    expired.unlink()
    return _acquire(lease_file, holder)


def _renew(lease_file: Path) -> None:
    try:
        os.utime(lease_file)
    except FileNotFoundError:  # another process took over: this one did not renew in time
        return


def _read_holder(lease_file: Path) -> _Holder | None:
    try:
        return _Holder.model_validate_json(lease_file.read_bytes())
    except (OSError, ValidationError):
        return None


def _is_expired(lease_file: Path, duration: float) -> bool:
    holder = _read_holder(lease_file)
    if holder and holder.host == socket.gethostname() and not _is_running(holder.process):
        return True
    try:
        return time.time() - lease_file.stat().st_mtime > duration
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

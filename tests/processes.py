"""A real server in its own process, for tests that walk the whole way."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


@contextmanager
def serving(
    command: Sequence[str | Path], *, ends_with: int = 0, **environment: str
) -> Iterator[httpx.Client]:
    """Start a command that serves, wait for the URL that it says, stop it, and see how it ends."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if url := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError("the server ended before it was ready:\n" + "".join(said))
        with httpx.Client(base_url=url.group(), timeout=60) as client:
            yield client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        said.append(rest or "")
    assert process.returncode == ends_with, "".join(said)


def serve_bundle(bundle: Path) -> list[str | Path]:
    """The command that serves a bundle on a free port."""
    return [sys.executable, "-m", "service", "--bundle", bundle, "--port", "0"]

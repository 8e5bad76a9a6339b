"""Real servers: in a process of its own, or behind a real socket of this one."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import uvicorn
from fastapi import FastAPI

from service.server.connection import connections

ROOT = Path(__file__).parents[2]


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
    told = f"ended with {process.returncode}:\n" + "".join(said)
    assert process.returncode == ends_with, told


def serve_bundle(bundle: Path) -> list[str | Path]:
    """The command that serves a bundle on a free port."""
    return [sys.executable, "-m", "service", "--bundle", bundle, "--port", "0"]


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _hear_interrupts() -> None:
    """What a shell has begun in the background ignores them, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def milvus_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Milvus in a process of its own, where any number of others may ask; its address.

    It is milvus-lite, which is safe with one worker alone where several write.
    """
    port = port or free_port()
    command = [
        sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1",
        "--port", str(port), "--max-workers", "1", "--data-dir", str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  it takes no lock
    )
    try:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        yield f"milvus://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@contextmanager
def listening(app: FastAPI, http: type[asyncio.Protocol] | None = None) -> Iterator[httpx.Client]:
    """Serve an app of this process over a real socket: a test can reach inside, and break it.

    `http` is the class of its connections, else the service's own.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        protocol = http or connections(client_timeout=60)
        config = uvicorn.Config(app, http=protocol, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=60) as client:
                client.get("/livez")  # is answered when it has started
                yield client
        finally:
            server.should_exit = True
            thread.join()

"""Servers for tests: in their own process, or on a socket of this process."""

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
def running_server(
    command: Sequence[str | Path], *, ends_with: int = 0, **environment: str
) -> Iterator[httpx.Client]:
    """Start a server, wait for the URL in its output, and stop it.

    Fails if the server ends before it is ready, or with a status other than `ends_with`.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if url := re.search(r"(?<=ready: )http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError("the server ended before it was ready:\n" + "".join(output))
        with httpx.Client(base_url=url.group(), timeout=60) as client:
            yield client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        output.append(rest or "")
    ending = f"ended with {process.returncode}:\n" + "".join(output)
    assert process.returncode == ends_with, ending


def resident(http: httpx.Client) -> float:
    """Return the resident memory of the process in bytes."""
    found = re.search(r"^process_resident_memory_bytes (\S+)", http.get("/metrics").text, re.M)
    assert found
    return float(found[1])


def serve_command(bundle: Path) -> list[str | Path]:
    """Return the command that serves a bundle on a free port."""
    return [sys.executable, "-m", "service", "--bundle", bundle, "--port", "0"]


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _enable_interrupts() -> None:
    """Restore SIGINT: background jobs of a shell ignore it, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def milvus_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run milvus-lite in its own process for any number of clients; yield its address.

    It has one worker, because several are unsafe with concurrent writes.
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
        preexec_fn=_enable_interrupts,  # noqa: PLW1509  it takes no lock
    )
    try:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        yield f"milvus://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@contextmanager
def running_app(app: FastAPI, http: type[asyncio.Protocol] | None = None) -> Iterator[httpx.Client]:
    """Serve an app of this process on a socket, so that a test can change it while it runs.

    `http` is the protocol class of its connections. Default: that of the service.
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
                client.get("/livez")  # waits until the server has started
                yield client
        finally:
            server.should_exit = True
            thread.join()

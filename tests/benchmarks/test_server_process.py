"""Tests of server processes: ready, suspended, and ended with all that they started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.harness.server_process import (
    Server,
    ServerError,
    free_address,
    memory_bytes,
    process_tree,
)


def serve_files(*before: str) -> Server:
    address = free_address()
    serve = f"{sys.executable} -m http.server --bind {address.host} {address.port}"
    return Server(["sh", "-c", " ".join((*before, serve))], address, "/")


def test_a_server_is_started_when_it_is_ready() -> None:
    with serve_files() as server:
        assert httpx.get(server.url).status_code == 200
        assert server.startup_seconds > 0
        assert server.resident_bytes > 0


def test_the_error_has_the_output_of_a_server_that_ended() -> None:
    with pytest.raises(ServerError, match="no such bundle"):
        Server(["sh", "-c", "echo no such bundle; exit 1"], free_address(), "/")


def test_a_paused_server_responds_only_after_it_is_resumed() -> None:
    with serve_files() as server:
        server.pause()
        with pytest.raises(httpx.TimeoutException):
            httpx.get(server.url, timeout=0.2)
        server.resume()
        assert httpx.get(server.url, timeout=10).status_code == 200


def test_stop_ends_the_processes_that_the_server_started() -> None:
    with serve_files("sleep 1000 & exec") as server:
        (sleeping,) = process_tree(server.pid)[1:]
    until = time.monotonic() + 10
    while Path(f"/proc/{sleeping}/cmdline").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{sleeping}/cmdline").exists()


def test_a_process_tree_has_the_process_and_its_descendants() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=-1, text=True) as one:
        assert one.stdout
        sleeping = int(one.stdout.readline())
        assert process_tree(one.pid) == [one.pid, sleeping]
        os.kill(sleeping, 15)


def test_memory_is_zero_for_a_process_that_has_ended() -> None:
    assert memory_bytes(os.getpid()) > memory_bytes(os.getpid(), "RssFile") > 0
    with subprocess.Popen(["true"]) as ended:
        pass
    assert memory_bytes(ended.pid) == 0

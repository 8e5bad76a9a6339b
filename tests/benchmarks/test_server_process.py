"""Servers as processes: ready, held still, gone with all that they started."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks.harness.server_process import (
    Server,
    ServerError,
    family_of,
    free_address,
    memory_bytes,
)


def serve_files(*before: str) -> Server:
    address = free_address()
    serve = f"{sys.executable} -m http.server --bind {address.host} {address.port}"
    return Server(["sh", "-c", " ".join((*before, serve))], address, "/")


def test_a_server_is_ready_when_it_answers() -> None:
    with serve_files() as server:
        url = f"http://{server.address.host}:{server.address.port}/"
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
        assert server.seconds > 0
        assert server.resident_bytes > 0


def test_a_server_that_ends_says_why() -> None:
    with pytest.raises(ServerError, match="no such bundle"):
        Server(["sh", "-c", "echo no such bundle; exit 1"], free_address(), "/")


def test_a_held_server_does_not_answer_until_it_goes_on() -> None:
    with serve_files() as server:
        url = f"http://{server.address.host}:{server.address.port}/"
        server.pause()
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(url, timeout=0.2)
        server.resume()
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_stopping_ends_what_the_server_started() -> None:
    with serve_files("sleep 1000 & exec") as server:
        (sleeping,) = family_of(server.pid)[1:]
    until = time.monotonic() + 10
    while Path(f"/proc/{sleeping}/cmdline").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{sleeping}/cmdline").exists()


def test_a_family_is_a_process_and_its_descendants() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=-1, text=True) as one:
        assert one.stdout
        sleeping = int(one.stdout.readline())
        assert family_of(one.pid) == [one.pid, sleeping]
        os.kill(sleeping, 15)


def test_memory_is_that_of_a_living_process() -> None:
    assert memory_bytes(os.getpid()) > memory_bytes(os.getpid(), "RssFile") > 0
    with subprocess.Popen(["true"]) as gone:
        pass
    assert memory_bytes(gone.pid) == 0

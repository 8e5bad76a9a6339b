"""A service that is killed at any moment loses no change that it has acknowledged."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.fakes import image_file
from tests.support.lengths import length
from tests.support.processes import ROOT

KILLS = length(30, 4)
WRITERS = 3
LONGEST = 0.6
"""Seconds of writing before a kill, at most."""
PNG = {"Content-Type": "image/png"}


@dataclass
class AcknowledgedWrites:
    """The changes that the service has acknowledged."""

    added: set[str] = field(default_factory=set)
    """Added, and without a request to remove them since."""
    removed: set[str] = field(default_factory=set)
    """Removed."""
    begun: int = 0
    """Additions begun, acknowledged or not."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int:
        """Return a number that no other image has."""
        with self.lock:
            self.begun += 1
            return self.begun


@contextmanager
def server(gallery: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Serve the starter bundle in a process; kill it at the end."""
    command = [sys.executable, "-m", "service", "--bundle", "starter", "--port", "0"]
    settings = {"KINDRED_GALLERY": str(gallery), "KINDRED_MAX_BATCH_SIZE": "1"}  # for a quick start
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def write(url: httpx.URL, acknowledged: AcknowledgedWrites, random: np.random.Generator) -> None:
    """Add and remove images until the service is killed."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            number = acknowledged.next()
            image_id = f"image-{number:05d}"
            path = f"/gallery?id={image_id}&label=kept"
            try:
                answer = client.post(path, content=image_file(number), headers=PNG)
            except httpx.TransportError:
                return
            assert answer.status_code == 201, answer.text
            with acknowledged.lock:
                acknowledged.added.add(image_id)
                removes = random.random() < 0.3
                if removes:  # from here on, the removal may be stored
                    leaving = str(random.choice(sorted(acknowledged.added)))
                    acknowledged.added.remove(leaving)
            if removes:
                try:
                    answer = client.delete(f"/gallery/{leaving}")
                except httpx.TransportError:
                    return
                assert answer.status_code == 204, answer.text
                with acknowledged.lock:
                    acknowledged.removed.add(leaving)


def listed(client: httpx.Client) -> list[str]:
    """Return the ids of all added images, as often as they are listed."""
    found: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/gallery?source=added&limit=100&cursor={cursor}").json()
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            return found
        cursor = page["next"]


def finds_itself(client: httpx.Client, image_id: str) -> bool:
    """Return whether a search for an image finds it first, and once."""
    path = f"/gallery/{image_id}/similar?exclude_self=false&limit=5"
    found = client.get(path).json()["similar"]
    return found[0]["id"] == image_id and [one["id"] for one in found].count(image_id) == 1


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_acknowledged_changes_survive_a_kill_at_any_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kill real server processes under a stream of writes, and start each again."""
    acknowledged = AcknowledgedWrites()
    unseen: set[str] = set()
    """Added since the last start."""
    checked = 0
    for kill in range(KILLS + 1):
        with server(tmp_path / "gallery") as (process, client):
            there = listed(client)
            assert len(there) == len(set(there))
            assert acknowledged.added <= set(there)
            assert acknowledged.removed.isdisjoint(there)
            expected = sorted(acknowledged.added if kill == KILLS else acknowledged.added & unseen)
            assert all(finds_itself(client, image_id) for image_id in expected)
            checked += len(expected)
            if kill == KILLS:
                break
            before = set(acknowledged.added)
            threads = [
                threading.Thread(
                    target=write,
                    args=(client.base_url, acknowledged, np.random.default_rng((kill, n))),
                )
                for n in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(np.random.default_rng(kill).uniform(0.05, LONGEST))
            process.kill()
            for thread in threads:
                thread.join()
            unseen = acknowledged.added - before
    assert len(acknowledged.added) > KILLS
    assert acknowledged.removed
    with capsys.disabled():
        print(
            f"\nkilled {KILLS} times: {acknowledged.begun} additions begun, "
            f"{len(acknowledged.added)} images stored and found ({checked} searches), "
            f"{len(acknowledged.removed)} removed for good"
        )

"""A service that is killed at any moment has lost nothing that it has acknowledged."""

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

from tests.support.fakes import picture
from tests.support.lengths import length
from tests.support.processes import ROOT

KILLS = length(30, 6)
WRITERS = 3
LONGEST = 0.6
"""Seconds of writing before a kill, at most."""
PNG = {"Content-Type": "image/png"}


@dataclass
class AcknowledgedWrites:
    """What the service has been told, and what it has acknowledged."""

    kept: set[str] = field(default_factory=set)
    """Acknowledged, and not asked to be removed since."""
    gone: set[str] = field(default_factory=set)
    """Whose removal has been acknowledged."""
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int:
        """A number for a picture that nobody else has."""
        with self.lock:
            self.asked += 1
            return self.asked


@contextmanager
def server(gallery: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The starter bundle, served by a process of its own until it is killed."""
    command = [sys.executable, "-m", "service", "--bundle", "starter", "--port", "0"]
    settings = {"KINDRED_GALLERY": str(gallery), "KINDRED_MAX_BATCH_SIZE": "1"}  # is warm at once
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


def write(url: httpx.URL, told: AcknowledgedWrites, random: np.random.Generator) -> None:
    """Add and remove without end; that the service is killed ends it."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            number = told.next()
            image_id = f"image-{number:05d}"
            path = f"/gallery?id={image_id}&label=kept"
            try:
                answer = client.post(path, content=picture(number), headers=PNG)
            except httpx.TransportError:
                return
            assert answer.status_code == 201, answer.text
            with told.lock:
                told.kept.add(image_id)
                going = str(random.choice(sorted(told.kept))) if random.random() < 0.3 else None
                if going:
                    told.kept.remove(going)  # from now on it may have gone
            if going:
                try:
                    answer = client.delete(f"/gallery/{going}")
                except httpx.TransportError:
                    return
                assert answer.status_code == 204, answer.text
                with told.lock:
                    told.gone.add(going)


def listed(client: httpx.Client) -> list[str]:
    """The ids of all images that have been added, as often as they are listed."""
    found: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/gallery?source=added&limit=100&cursor={cursor}").json()
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            return found
        cursor = page["next"]


def finds_itself(client: httpx.Client, image_id: str) -> bool:
    """Whether an image is what a search for it finds, once."""
    path = f"/gallery/{image_id}/similar?exclude_self=false&limit=5"
    found = client.get(path).json()["similar"]
    return found[0]["id"] == image_id and [one["id"] for one in found].count(image_id) == 1


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_what_was_acknowledged_outlives_a_kill_at_any_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real server processes, each killed under a stream of writes and followed by another."""
    told = AcknowledgedWrites()
    unseen: set[str] = set()
    """Acknowledged since the last start."""
    checked = 0
    for kill in range(KILLS + 1):
        with server(tmp_path / "gallery") as (process, client):
            there = listed(client)
            assert len(there) == len(set(there))
            assert told.kept <= set(there)
            assert told.gone.isdisjoint(there)
            looked_for = sorted(told.kept if kill == KILLS else told.kept & unseen)
            assert all(finds_itself(client, image_id) for image_id in looked_for)
            checked += len(looked_for)
            if kill == KILLS:
                break
            before = set(told.kept)
            threads = [
                threading.Thread(
                    target=write, args=(client.base_url, told, np.random.default_rng((kill, n)))
                )
                for n in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(np.random.default_rng(kill).uniform(0.05, LONGEST))
            process.kill()
            for thread in threads:
                thread.join()
            unseen = told.kept - before
    assert len(told.kept) > KILLS
    assert told.gone
    with capsys.disabled():
        print(
            f"\nkilled {KILLS} times: {told.asked} writes begun, {len(told.kept)} images kept and "
            f"found ({checked} searches), {len(told.gone)} removed for good"
        )

"""Failures of the gallery: a full disk, another network, a damaged database."""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.errors import StorageError
from service.gallery.local.sqlite import FILE
from service.server import reembed
from service.settings import Settings
from service.state import State
from tests.support.factories import linked_copy
from tests.support.fakes import BATCH_TIMEOUT, cosine, image_file
from tests.support.processes import running_server, serve_command
from training.bundle import Vectors
from training.bundle.writer import update_current_link

PNG = {"Content-Type": "image/png"}


def add(client: httpx.Client, seed: int) -> httpx.Response:
    return client.post(
        f"/gallery?id=mine-{seed:03d}&label=x", content=image_file(seed), headers=PNG
    )


def most_like(client: httpx.Client, seed: int) -> Any:
    found = client.post("/similar?limit=1", content=image_file(seed), headers=PNG)
    assert found.status_code == 200
    return found.json()["similar"][0]["id"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of a process from outside")
def test_a_full_disk_makes_changes_507_and_nothing_else(bundle_path: Path, tmp_path: Path) -> None:
    """A real process reaches its file size limit, keeps what it stored, and later gets more."""
    from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit

    limited: list[str | Path] = ["bash", "-c", 'echo $$ > "$0"; ulimit -S -f 1500; exec "$@"']
    limited.append(tmp_path / "pid")
    with running_server(
        [*limited, *serve_command(bundle_path)], KINDRED_MAX_BATCH_SIZE="4"
    ) as client:
        answers = [add(client, seed) for seed in range(200)]
        stored = [seed for seed, answer in enumerate(answers) if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert 10 < len(stored) < 190
        assert {answer.status_code for answer in refused} == {507}
        problem = refused[0].json()
        assert refused[0].headers["Content-Type"] == "application/problem+json"
        assert problem["type"] == "urn:kindred:problem:storage"
        assert "room" in problem["detail"]
        assert client.get("/readyz").status_code == 200
        assert client.get("/model").json()["gallery"]["added"] == len(stored)
        assert [most_like(client, seed) for seed in stored[:3]] == [
            f"mine-{seed:03d}" for seed in stored[:3]
        ]
        assert client.get(f"/gallery/mine-{refused_seed(answers):03d}").status_code == 404
        prlimit(int((tmp_path / "pid").read_text()), RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
        assert add(client, 500).status_code == 201
        assert most_like(client, 500) == "mine-500"


def refused_seed(answers: list[httpx.Response]) -> int:
    """Return the seed of the first image that was refused."""
    return [answer.status_code for answer in answers].index(507)


@pytest.fixture
def current(tmp_path: Path, bundle_path: Path, bundle_without_pixels_path: Path) -> Path:
    """A link to one bundle; the other's network has other (fp16) weights."""
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    update_current_link(tmp_path / "current", tmp_path / "one")
    return tmp_path / "current"


@pytest.fixture
def client(current: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(bundle=current, max_batch_size=4))) as running:
        yield running


def stored_vector(client: TestClient, image_id: str) -> Vectors:
    """Return the stored vector of an image at conv2."""
    view = client.app.state.kindred.gallery.snapshot()  # type: ignore[attr-defined]
    vector: Vectors = view.vectors("conv2", [image_id])[image_id]
    return vector


def outdated(client: TestClient) -> int:
    return int(client.get("/model").json()["gallery"]["stale"])


def test_after_a_change_of_network_images_are_embedded_again_and_found_all_the_time(
    client: TestClient, current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reembed_batch = reembed.reembed_batch
    allowed: list[bool] = []

    async def when_allowed(state: State, passed_over: set[tuple[str, int]]) -> bool:
        return bool(allowed) and await reembed_batch(state, passed_over)

    monkeypatch.setattr(reembed, "reembed_batch", when_allowed)
    monkeypatch.setattr(reembed, "PAUSE_SECONDS", 0.01)
    for seed in range(20):
        add(client, seed)
    before = stored_vector(client, "mine-003")
    update_current_link(current, current.with_name("other"))
    client.post("/admin/reload")
    assert outdated(client) == 20
    assert "kindred_gallery_stale_images 20.0" in client.get("/metrics").text
    assert [most_like(client, seed) for seed in range(20)] == [f"mine-{n:03d}" for n in range(20)]
    allowed.append(True)
    deadline = time.monotonic() + BATCH_TIMEOUT
    while outdated(client):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [most_like(client, seed) for seed in range(20)] == [f"mine-{n:03d}" for n in range(20)]
    after = stored_vector(client, "mine-003")
    answer = client.post("/embed?layer=conv2", content=image_file(3), headers=PNG).json()
    assert (before != after).any()
    assert cosine(after, answer["vector"]) > cosine(before, answer["vector"])
    client.close()
    with TestClient(create_app(Settings(bundle=current, max_batch_size=4))) as again:
        assert outdated(again) == 0


def test_damaged_images_do_not_stop_the_reembedding_of_others(
    client: TestClient, current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembed, "PAUSE_SECONDS", 0.01)
    damaged = reembed.BATCH + 1
    for seed in range(damaged + 3):
        add(client, seed)
    gallery = client.app.state.kindred.gallery  # type: ignore[attr-defined]
    with gallery._writer.lock, gallery._writer.store.transaction():
        gallery._writer.store._run(
            "UPDATE pictures SET png = x'00' WHERE number IN "
            "(SELECT number FROM images ORDER BY id LIMIT ?)",
            damaged,
        )
    update_current_link(current, current.with_name("other"))
    client.post("/admin/reload")
    deadline = time.monotonic() + BATCH_TIMEOUT
    while outdated(client) > damaged:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert outdated(client) == damaged


def test_a_copy_of_the_database_file_is_a_whole_gallery(bundle_path: Path, tmp_path: Path) -> None:
    """The indexes are built from the database at each start."""
    folder = tmp_path / "gallery"
    settings = Settings(bundle=bundle_path, max_batch_size=4, gallery=str(folder))
    with TestClient(create_app(settings)) as client:
        for seed in range(5):
            add(client, seed)
        client.delete("/gallery/mine-002")
    (tmp_path / "copy").mkdir()
    shutil.copy(folder / FILE, tmp_path / "copy")
    copied = settings.model_copy(update={"gallery": str(tmp_path / "copy")})
    with TestClient(create_app(copied)) as client:
        assert most_like(client, 3) == "mine-003"
        assert most_like(client, 2) != "mine-002"
        assert client.get("/model").json()["gallery"]["added"] == 4


def test_a_service_refuses_a_damaged_database_and_names_it(
    bundle_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / FILE).write_bytes(np.random.default_rng(0).bytes(10_000))
    with pytest.raises(StorageError, match=FILE):
        create_app(Settings(bundle=bundle_path, gallery=str(folder)))

"""A reload replaces the bundle while the service runs."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.engine.types import Priority
from service.server.reload import Reloader, StateSlot
from service.settings import Settings
from service.state import State
from tests.support.factories import linked_copy
from tests.support.fakes import image_file
from tests.support.lengths import length
from tests.support.processes import running_server, serve_command
from training.bundle.writer import update_current_link

PNG = {"Content-Type": "image/png"}
RELOADS = length(50, 12)
CLIENTS = 3
"""Clients that send requests during the reloads."""


@pytest.fixture
def current(tmp_path: Path, bundle_path: Path, bundle_without_pixels_path: Path) -> Path:
    """Create a link to one bundle, next to another one."""
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    update_current_link(tmp_path / "current", tmp_path / "one")
    return tmp_path / "current"


@pytest.fixture
def app(current: Path) -> FastAPI:
    return create_app(Settings(bundle=current, max_batch_size=4))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as running:
        yield running


def link_to(current: Path, name: str) -> None:
    update_current_link(current, current.with_name(name))


def test_a_reload_serves_the_bundle_that_is_there_now(client: TestClient, current: Path) -> None:
    before = client.get("/model").json()
    link_to(current, "other")
    response = client.post("/admin/reload")
    assert response.status_code == 200
    after = client.get("/model").json()
    assert response.json() == {
        which: {"name": model["name"], "version": model["version"]}
        for which, model in (("previous", before), ("current", after))
    }
    assert before["version"] != after["version"]
    assert (before["gallery"]["size"], after["gallery"]["size"]) == (150, 100)
    answer = client.post("/predict", content=image_file(), headers=PNG).json()
    assert answer["model"]["version"] == after["version"]
    metrics = client.get("/metrics").text
    assert f'version="{after["version"]}"' in metrics
    assert before["version"] not in metrics
    assert "kindred_reloads_total 1.0" in metrics


def test_a_damaged_bundle_is_refused_and_the_old_one_is_still_served(
    client: TestClient, current: Path
) -> None:
    before = client.get("/model").json()
    weights = current.with_name("other") / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a hard link to the file of other tests
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    link_to(current, "other")
    refused = client.post("/admin/reload")
    assert refused.status_code == 409
    assert "model.safetensors is damaged" in refused.json()["detail"]
    assert client.get("/model").json() == before
    assert client.get("/readyz").status_code == 200
    assert client.post("/classify", content=image_file(), headers=PNG).status_code == 200


def test_a_missing_bundle_is_refused(client: TestClient, current: Path) -> None:
    current.unlink()
    assert client.post("/admin/reload").status_code == 409
    assert client.get("/experiments").json()["experiments"]
    assert client.get("/model").json()["caveats"]  # the old bundle is still in memory


def test_a_key_for_reading_may_not_reload(current: Path) -> None:
    app = create_app(Settings(bundle=current, api_keys=("reader",), admin_keys=("admin",)))
    refused = TestClient(app).post("/admin/reload", headers={"X-API-Key": "reader"})
    assert refused.status_code == 403
    assert "KINDRED_ADMIN_KEYS" in refused.json()["detail"]


def test_the_old_state_answers_the_requests_that_began_with_it(app: FastAPI) -> None:
    """Its engine stops after its last request, not before."""
    stopped = threading.Event()

    class Engine:
        def start(self) -> None:
            pass

        def stop(self) -> None:
            stopped.set()

    async def go() -> None:
        old: State = replace(app.state.kindred, engine=Engine())
        request = ExitStack()
        request.enter_context(old.requests.acquire())
        served = [old]
        slot = StateSlot(lambda: served[-1], served.append)
        reloader = Reloader(slot, replace)
        await reloader.reload()
        assert served[-1] is not old
        await asyncio.sleep(0.1)
        assert not stopped.is_set()
        request.close()
        await reloader.close()
        assert stopped.is_set()

    asyncio.run(go())


def test_requests_of_the_old_state_do_not_count_in_the_new_one(
    app: FastAPI, client: TestClient
) -> None:
    old: State = app.state.kindred
    with (
        old.admission.permit(Priority.INTERACTIVE, 3),
        old.admission.permit(Priority.BACKGROUND, 2),
    ):
        assert client.post("/admin/reload").status_code == 200
        new: State = app.state.kindred
        assert new is not old
        assert [new.admission.in_flight(priority) for priority in Priority] == [0, 0]
        assert new.requests.users == 0


@pytest.mark.soak
def test_no_request_fails_during_reloads(current: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reload a real process repeatedly while several clients send requests."""
    done = threading.Event()

    def ask(url: httpx.URL) -> Counter[tuple[int, str]]:
        """Count the responses by status and version."""
        got: Counter[tuple[int, str]] = Counter()
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/predict", content=image_file(), headers=PNG)
                got[answer.status_code, answer.json()["model"]["version"]] += 1
        return got

    # Warming up takes most of a reload, so batches are no larger than these clients need.
    with (
        running_server(serve_command(current), KINDRED_MAX_BATCH_SIZE="4") as http,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        running = [clients.submit(ask, http.base_url) for _ in range(CLIENTS)]
        try:
            reloads = Counter(
                reload(http, current, name) for name in islice(cycle(("other", "one")), RELOADS)
            )
        finally:
            done.set()
        answers = sum((one.result() for one in running), Counter[tuple[int, str]]())
    failures = sum(count for (status, _), count in answers.items() if status != 200)
    with capsys.disabled():
        print(
            f"\n{reloads[200]} reloads under load: {answers.total()} requests answered by "
            f"{len(answers)} versions in turn, {failures} failures"
        )
    assert reloads == {200: RELOADS}
    assert failures == 0
    assert len(answers) == 2


def reload(http: httpx.Client, current: Path, name: str) -> int:
    """Reload another bundle, and return the status."""
    link_to(current, name)
    return http.post("/admin/reload").status_code

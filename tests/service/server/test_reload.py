"""Another bundle without a stop."""

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
from tests.support.fakes import picture
from tests.support.processes import running_server, serve_command
from training.bundle.writer import update_current_link

PNG = {"Content-Type": "image/png"}
RELOADS = 50
ASKING = 3
"""How many clients ask meanwhile."""


@pytest.fixture
def current(tmp_path: Path, bundle_path: Path, bundle_without_pixels_path: Path) -> Path:
    """A link to one bundle, with another beside it."""
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


def turn(current: Path, name: str) -> None:
    update_current_link(current, current.with_name(name))


def test_what_stands_there_now_is_served(client: TestClient, current: Path) -> None:
    before = client.get("/model").json()
    turn(current, "other")
    said = client.post("/admin/reload")
    assert said.status_code == 200
    after = client.get("/model").json()
    assert said.json() == {
        which: {"name": model["name"], "version": model["version"]}
        for which, model in (("previous", before), ("current", after))
    }
    assert before["version"] != after["version"]
    assert (before["gallery"]["size"], after["gallery"]["size"]) == (150, 100)
    answer = client.post("/predict", content=picture(), headers=PNG).json()
    assert answer["model"]["version"] == after["version"]
    metrics = client.get("/metrics").text
    assert f'version="{after["version"]}"' in metrics
    assert before["version"] not in metrics
    assert "kindred_reloads_total 1.0" in metrics


def test_a_bundle_that_does_not_verify_is_refused_and_the_old_one_stays(
    client: TestClient, current: Path
) -> None:
    before = client.get("/model").json()
    weights = current.with_name("other") / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a link to the other tests' file
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    turn(current, "other")
    refused = client.post("/admin/reload")
    assert refused.status_code == 409
    assert "model.safetensors is damaged" in refused.json()["detail"]
    assert client.get("/model").json() == before
    assert client.get("/readyz").status_code == 200
    assert client.post("/classify", content=picture(), headers=PNG).status_code == 200


def test_a_bundle_that_is_gone_is_refused(client: TestClient, current: Path) -> None:
    current.unlink()
    assert client.post("/admin/reload").status_code == 409
    assert client.get("/experiments").json()["experiments"]
    assert client.get("/model").json()["caveats"]  # all of the old one is in memory


def test_whoever_may_only_read_may_not_reload(current: Path) -> None:
    app = create_app(Settings(bundle=current, api_keys=("reader",), admin_keys=("admin",)))
    refused = TestClient(app).post("/admin/reload", headers={"X-API-Key": "reader"})
    assert refused.status_code == 403
    assert "KINDRED_ADMIN_KEYS" in refused.json()["detail"]


def test_the_old_one_answers_who_began_with_it(app: FastAPI) -> None:
    """Its engine is stopped when its last user has gone, not before."""
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
        standing = [old]
        place = StateSlot(lambda: standing[-1], standing.append)
        reloader = Reloader(place, replace)
        await reloader.reload()
        assert standing[-1] is not old
        await asyncio.sleep(0.1)
        assert not stopped.is_set()
        request.close()
        await reloader.close()
        assert stopped.is_set()

    asyncio.run(go())


def test_what_is_under_way_with_the_old_one_does_not_count_with_the_new(
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


def test_no_request_fails_while_bundles_change(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real process, reloaded again and again while several ask it."""
    done = threading.Event()

    def ask(url: httpx.URL) -> Counter[tuple[int, str]]:
        """How often each status came, from which version."""
        got: Counter[tuple[int, str]] = Counter()
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/predict", content=picture(), headers=PNG)
                got[answer.status_code, answer.json()["model"]["version"]] += 1
        return got

    # Warming up is most of a reload: no batches larger than these few can make.
    with (
        running_server(serve_command(current), KINDRED_MAX_BATCH_SIZE="4") as http,
        ThreadPoolExecutor(ASKING) as clients,
    ):
        asking = [clients.submit(ask, http.base_url) for _ in range(ASKING)]
        try:
            reloads = Counter(
                reload(http, current, name) for name in islice(cycle(("other", "one")), RELOADS)
            )
        finally:
            done.set()
        answers = sum((one.result() for one in asking), Counter[tuple[int, str]]())
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
    """Have another bundle served; the status of the answer."""
    turn(current, name)
    return http.post("/admin/reload").status_code

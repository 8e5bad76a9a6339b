"""Another bundle without a stop."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.reload import Place, Reloader
from service.settings import Settings
from service.state import State
from tests.processes import serve_bundle, serving
from tests.service.samples import picture
from tests.training.made import linked_copy
from training.publish import point

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def current(tmp_path: Path, bundle_path: Path, bundle_without_pixels_path: Path) -> Path:
    """A link to one bundle, with another beside it."""
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    point(tmp_path / "current", tmp_path / "one")
    return tmp_path / "current"


@pytest.fixture
def app(current: Path) -> FastAPI:
    return create_app(Settings(bundle=current, max_batch=4))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as running:
        yield running


def turn(current: Path, name: str) -> None:
    point(current, current.with_name(name))


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
        old: State = replace(app.state.kindred, engine=Engine(), users=1, unused=asyncio.Event())
        standing = [old]
        place = Place(lambda: standing[-1], standing.append)
        reloader = Reloader(place, lambda old: replace(old, users=0))
        await reloader.reload()
        assert standing[-1] is not old
        await asyncio.sleep(0.1)
        assert not stopped.is_set()
        old.users = 0
        old.unused.set()
        await reloader.close()
        assert stopped.is_set()

    asyncio.run(go())


def test_no_request_fails_while_bundles_change(current: Path) -> None:
    """A real process, reloaded by signal and by request, under load."""
    with serving(serve_bundle(current)) as http:
        failures: list[object] = []
        versions: set[str] = set()
        done = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=http.base_url, timeout=60) as mine:
                while not done.is_set():
                    answer = mine.post("/predict", content=picture(), headers=PNG)
                    if answer.status_code == 200:
                        versions.add(answer.json()["model"]["version"])
                    else:
                        failures.append(answer.text)

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        try:
            for name in ("other", "one", "other"):
                turn(current, name)
                assert http.post("/admin/reload").status_code == 200
        finally:
            done.set()
            for thread in asking:
                thread.join()
    assert failures == []
    assert len(versions) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_hangup_signal_reloads(app: FastAPI, current: Path) -> None:
    from service.__main__ import Server

    async def go() -> None:
        import uvicorn

        server = Server(uvicorn.Config(app, port=0, log_level="warning"), app, "here")
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        before = app.state.kindred
        turn(current, "other")
        signal.raise_signal(signal.SIGHUP)
        async with asyncio.timeout(30):
            while app.state.kindred is before:  # noqa: ASYNC110 - as seen from outside
                await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    asyncio.run(go())
    assert len(app.state.kindred.gallery) == 100

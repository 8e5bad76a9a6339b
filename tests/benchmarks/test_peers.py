"""Tests of the peers: the same versions as the service, and right responses."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from benchmarks.harness.load_generator import Address, Response
from benchmarks.harness.workload import Query, Task, build_queries, wrong_responses
from benchmarks.peers import fastapi_app, model
from benchmarks.peers.model import Index
from benchmarks.serving.systems import PEER_SYSTEMS
from training.bundle import load

ROOT = Path(__file__).parent.parent.parent
SHARED = ("torch", "faiss-cpu", "numpy")


@pytest.fixture(scope="module")
def queries(bundle_path: Path) -> tuple[Query, ...]:
    return build_queries(load(bundle_path))


def pinned(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("name", SHARED)
def test_peers_have_the_package_versions_of_the_service(name: str) -> None:
    ours, theirs = (pinned(ROOT / n) for n in ("requirements.lock", "benchmarks/peers.lock"))
    assert theirs[name] == ours[name]


def test_every_peer_starts_a_module_that_exists() -> None:
    commands = (system.command(Address("127.0.0.1", 80), Path()) for system in PEER_SYSTEMS)
    found = [
        module.split(":")[0].removeprefix("benchmarks.peers.")
        for command in commands
        for module in map(str, command)
        if module.startswith("benchmarks.peers.")
    ]
    assert len(found) == len(PEER_SYSTEMS)
    assert all((ROOT / "benchmarks/peers" / f"{name}.py").exists() for name in found)


@pytest.mark.parametrize(
    ("task", "index"), [("class", "flat"), ("conv2", "flat"), ("conv2", "bundle")]
)
def test_a_peer_responds_right(
    bundle_path: Path,
    queries: tuple[Query, ...],
    monkeypatch: pytest.MonkeyPatch,
    task: Task,
    index: Index,
) -> None:
    monkeypatch.setenv(model.BUNDLE, str(bundle_path))
    monkeypatch.setenv(model.TASK, task)
    monkeypatch.setenv(model.INDEX, index)
    with TestClient(fastapi_app.create_app()) as client:
        responses = [client.post("/predict", content=query.png) for query in queries]
    recorded = [Response(n, 0, 0, one.status_code, one.content) for n, one in enumerate(responses)]
    assert wrong_responses(recorded, queries, task) == []

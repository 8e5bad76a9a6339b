"""The peers: the same network, the same versions, and answers as right as ours."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from benchmarks.harness.load_generator import Answer
from benchmarks.harness.workload import Query, Task, queries, wrong_answers
from benchmarks.peers import fastapi_app, model
from benchmarks.peers.model import Index
from training.bundle import load

ROOT = Path(__file__).parent.parent.parent
SHARED = ("torch", "faiss-cpu", "numpy")


@pytest.fixture(scope="module")
def asked(bundle_path: Path) -> tuple[Query, ...]:
    return queries(load(bundle_path))


def pinned(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("name", SHARED)
def test_peers_compute_with_the_versions_that_we_compute_with(name: str) -> None:
    ours, theirs = (pinned(ROOT / n) for n in ("requirements.lock", "benchmarks/peers.lock"))
    assert theirs[name] == ours[name]


@pytest.mark.parametrize(
    ("task", "index"), [("class", "flat"), ("conv2", "flat"), ("conv2", "bundle")]
)
def test_a_peer_answers_right(
    bundle_path: Path,
    asked: tuple[Query, ...],
    monkeypatch: pytest.MonkeyPatch,
    task: Task,
    index: Index,
) -> None:
    monkeypatch.setenv(model.BUNDLE, str(bundle_path))
    monkeypatch.setenv(model.TASK, task)
    monkeypatch.setenv(model.INDEX, index)
    with TestClient(fastapi_app.create_app()) as client:
        responses = [client.post("/predict", content=query.png) for query in asked]
    answers = [Answer(n, 0, 0, one.status_code, one.content) for n, one in enumerate(responses)]
    assert wrong_answers(answers, asked, task) == []

"""Tests of the compared indexes, and of the exact search that recall refers to."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.recall import recall
from benchmarks.harness.worker import Worker, WorkerError
from benchmarks.search.index_worker import (
    HNSW,
    BuildReport,
    Flat,
    Index,
    Ours,
    SearchRequest,
    SearchTimes,
)
from benchmarks.search.vectors import exact_nearest
from training.bundle import Positions, Vectors
from training.index.cosine import normalise


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return normalise(np.random.default_rng(0).standard_normal((500, 64), dtype=np.float32))


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return normalise(np.random.default_rng(1).standard_normal((20, 64), dtype=np.float32))


@pytest.fixture(scope="module")
def stored(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(file, vectors)
    return file


@pytest.fixture(scope="module")
def nearest(vectors: Vectors, queries: Vectors) -> Positions:
    found: Positions = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    return found


def test_exact_search_compares_all_vectors(
    stored: Path, queries: Vectors, nearest: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.search.vectors.ROWS", 64)
    cosines, positions = exact_nearest(stored, 500, queries)
    assert np.array_equal(positions, nearest)
    assert np.allclose(cosines, np.sort(queries @ np.load(stored).T)[:, :-11:-1], atol=1e-6)


def test_exact_search_is_limited_to_the_first_vectors(
    stored: Path, vectors: Vectors, queries: Vectors
) -> None:
    best = (queries @ vectors[:100].T).argmax(axis=1)
    _, positions = exact_nearest(stored, 100, queries)
    assert np.array_equal(positions[:, 0], best)


@pytest.mark.parametrize("kind", [Flat, Ours, HNSW])
def test_an_index_at_its_slowest_setting_finds_the_nearest(
    kind: type[Index], vectors: Vectors, queries: Vectors, nearest: Positions
) -> None:
    index = kind(vectors)
    assert recall(index.search(queries, index.search_parameters[-1]), nearest) == 1


def test_recall_does_not_depend_on_the_order() -> None:
    assert recall(np.array([[3, 2, 1], [4, 5, 9]]), np.array([[1, 2, 3], [4, 6, 5]])) == 5 / 6


def test_an_index_in_a_worker_process_reports_its_build_and_finds_the_same(
    stored: Path, queries: Vectors, nearest: Positions, tmp_path: Path
) -> None:
    np.save(tmp_path / "queries.npy", queries)
    request = SearchRequest(
        queries=tmp_path / "queries.npy", batch=5, search_parameter=0, found=tmp_path / "found.npy"
    )
    with Worker(
        [sys.executable, "-m", "benchmarks.search.index_worker", "flat", stored, "500"]
    ) as worker:
        built = worker.receive(BuildReport)
        times = worker.call(request, SearchTimes)
    assert built.seconds > 0
    assert len(times.milliseconds) == 4
    assert np.array_equal(np.load(tmp_path / "found.npy"), nearest)


def test_a_worker_that_has_ended_is_an_error() -> None:
    with Worker(["false"]) as worker, pytest.raises(WorkerError, match="false"):
        worker.receive(BuildReport)

"""Tests of the synthetic vectors, and of the search of vectors in a file."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.recall import recall
from benchmarks.search.million import OnDiskIndex, measure_all, synthesise, write_synthetic
from benchmarks.search.vectors import exact_nearest
from training.bundle import Vectors
from training.index.cosine import normalise


@pytest.fixture(scope="module")
def real() -> Vectors:
    """Unit vectors with decreasing variance by dimension, far from the origin."""
    random = np.random.default_rng(0).standard_normal((2_000, 512), dtype=np.float32)
    deviation = np.geomspace(1, 0.01, 512, dtype=np.float32)
    return normalise(random * deviation + np.float32(0.05))


def spectrum(vectors: Vectors) -> Vectors:
    """Compute the eigenvalues of the second moment, in decreasing order."""
    singular: Vectors = np.linalg.svd(vectors, compute_uv=False).astype(np.float32)
    return singular**2 / np.float32(len(vectors))


def test_synthetic_vectors_have_the_spectrum_of_the_real_ones(real: Vectors) -> None:
    synthetic = np.concatenate(list(synthesise(real.astype(np.float16), 4_000, seed=0)))
    assert synthetic.shape == (4_000, 512)
    assert np.allclose(np.linalg.norm(synthetic, axis=1), 1, atol=1e-5)
    assert spectrum(synthetic)[:20] == pytest.approx(spectrum(real)[:20], rel=0.1)


def test_vectors_depend_on_the_seed(real: Vectors) -> None:
    one, same, other = (next(synthesise(real.astype(np.float16), 5, seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.isclose(one, other).all(axis=1).any()


def test_the_search_is_exact_if_every_vector_is_a_candidate(real: Vectors, tmp_path: Path) -> None:
    write_synthetic(real.astype(np.float16), 300, tmp_path / "synthetic.npy")
    queries = next(synthesise(real.astype(np.float16), 20, seed=1))
    index = OnDiskIndex(np.load(tmp_path / "synthetic.npy", mmap_mode="r"), 256, "Flat")
    _, nearest = exact_nearest(tmp_path / "synthetic.npy", 300, queries)
    assert recall(index.search(queries, 300), nearest) == 1
    assert recall(index.search(queries, 10), nearest) > 0.3


@pytest.mark.slow
def test_the_section_has_every_index_and_the_vectors_are_cached(
    real: Vectors, tmp_path: Path
) -> None:
    np.save(tmp_path / "real.npy", real.astype(np.float16))
    section = measure_all(tmp_path / "real.npy", tmp_path, rounds=1, count=3_000)
    assert "3,000 synthetic vectors" in section
    assert "SVD512,SQfp16" in section
    assert "IVF1024" in section
    assert np.load(tmp_path / "real-synthetic-3000.npy", mmap_mode="r").shape == (3_000, 512)

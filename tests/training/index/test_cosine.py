"""The cosine index against numpy's brute force."""

from functools import cache
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.index import cosine, files
from training.index.cosine import (
    CosineIndex,
    Factory,
    Vectors,
    build,
    concatenate,
    normalise,
)
from training.index.files import IndexFileError
from training.index.projection import Projection

DIMENSION = 600
REFINED: Factory = "SVD256,SQ8,Refine(SQfp16)"


@cache
def rotation(dimension: int) -> npt.NDArray[np.float64]:
    """Draw a rotation, always the same."""
    drawn = np.random.default_rng(0).normal(size=(dimension, dimension))
    return np.linalg.qr(drawn).Q


def decaying(count: int, seed: int, dimension: int = DIMENSION) -> Vectors:
    """Draw vectors like a network's: all on one side, most of their variation in few directions."""
    strength = 1.0 / np.arange(1, dimension + 1)
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)) * strength
    drawn[:, 0] += 1
    vectors: Vectors = (drawn @ rotation(dimension)).astype(np.float32)
    return vectors


def cosines(queries: Vectors, vectors: Vectors) -> Vectors:
    """Compute every cosine by its definition."""
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(v, axis=1)
    found: Vectors = (q @ v.T / lengths).astype(np.float32)
    return found


FEW, MANY = decaying(300, seed=1), decaying(2100, seed=1)
QUERIES = decaying(60, seed=2)


@pytest.fixture(scope="module")
def refined() -> CosineIndex:
    return build(MANY)


@pytest.fixture(params=["Flat", "SQfp16", REFINED])
def any_index(request: pytest.FixtureRequest, refined: CosineIndex) -> tuple[CosineIndex, Vectors]:
    """Return an index of each kind, and the vectors it was built from."""
    if request.param == REFINED:
        return refined, MANY
    return build(FEW, fp16=request.param == "SQfp16"), FEW


def test_the_number_and_length_of_vectors_choose_the_kind_of_index(refined: CosineIndex) -> None:
    assert build(FEW).factory == "Flat"
    assert build(FEW, fp16=True).factory == "SQfp16"
    assert refined.factory == REFINED
    assert build(decaying(2100, 1, dimension=10)).factory == "Flat"


def test_an_index_has_the_size_and_dimension_of_its_vectors(
    any_index: tuple[CosineIndex, Vectors],
) -> None:
    built, vectors = any_index
    assert (len(built), built.dimension) == vectors.shape


def test_scores_are_cosines(any_index: tuple[CosineIndex, Vectors]) -> None:
    built, vectors = any_index
    scores, positions = built.search(QUERIES, 10)
    expected = np.take_along_axis(cosines(QUERIES, vectors), positions, axis=1)
    assert np.allclose(scores, expected, atol=1e-3)


def test_results_are_sorted_best_first(any_index: tuple[CosineIndex, Vectors]) -> None:
    scores, _ = any_index[0].search(QUERIES, 10)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_stored_vector_finds_itself_first(any_index: tuple[CosineIndex, Vectors]) -> None:
    built, vectors = any_index
    scores, positions = built.search(vectors[:50], 1)
    assert positions[:, 0].tolist() == list(range(50))
    assert (scores >= 0.999).all()


def test_a_flat_index_orders_results_as_numpy_does() -> None:
    _, positions = build(FEW).search(QUERIES, 10)
    assert np.array_equal(positions, np.argsort(-cosines(QUERIES, FEW), axis=1)[:, :10])


def test_exact_search_finds_what_the_two_stage_search_may_miss() -> None:
    # The variation is equal in all 600 directions, so 256 of them do not rank the neighbours.
    isotropic = np.random.default_rng(4).normal(size=(2160, DIMENSION)).astype(np.float32)
    built, queries = build(isotropic[60:]), isotropic[:60]
    all_scores = normalise(queries) @ built.reconstruct(np.arange(2100)).T
    best = -np.sort(-all_scores, axis=1)[:, :10]
    scores, positions = built.search(queries, 10, exact=True)
    assert np.allclose(scores, best, atol=1e-6)
    assert np.allclose(np.take_along_axis(all_scores, positions, axis=1), best, atol=1e-6)
    assert built.search(queries, 10)[0].sum() < scores.sum()


def test_the_two_stage_search_finds_what_brute_force_finds(refined: CosineIndex) -> None:
    nearest = np.argsort(-cosines(QUERIES, MANY), axis=1)[:, :10]
    _, found = refined.search(QUERIES, 10)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True))
    assert hits / nearest.size >= 0.998


def test_fitting_the_projection_leaves_the_global_random_state_unchanged() -> None:
    before = torch.get_rng_state()
    first, second = build(MANY), build(MANY)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first.search(QUERIES, 10)[1], second.search(QUERIES, 10)[1])


def test_row_ids_restrict_an_exact_search(any_index: tuple[CosineIndex, Vectors]) -> None:
    built, vectors = any_index
    row_ids = np.arange(7, 200, 3)
    scores, positions = built.search(QUERIES, 5, row_ids=row_ids)
    expected = -np.sort(-cosines(QUERIES, vectors)[:, row_ids], axis=1)[:, :5]
    assert np.isin(positions, row_ids).all()
    assert np.allclose(scores, expected, atol=1e-3)


def test_fewer_row_ids_than_the_limit_are_all_returned(
    any_index: tuple[CosineIndex, Vectors],
) -> None:
    _, positions = any_index[0].search(QUERIES, 10, row_ids=np.array([4, 2, 4, 9]))
    assert all(sorted(row) == [2, 4, 9] for row in positions.tolist())


def test_no_row_ids_return_no_results(any_index: tuple[CosineIndex, Vectors]) -> None:
    scores, positions = any_index[0].search(QUERIES, 10, row_ids=np.array([], dtype=np.int64))
    assert (scores.shape, positions.shape) == ((60, 0), (60, 0))


def test_a_limit_above_the_size_returns_every_vector(
    any_index: tuple[CosineIndex, Vectors],
) -> None:
    built, vectors = any_index
    _, positions = built.search(QUERIES[:2], 10_000, exact=True)
    assert all(sorted(row) == list(range(len(vectors))) for row in positions.tolist())


def test_reconstructed_vectors_are_the_normalised_originals(
    any_index: tuple[CosineIndex, Vectors],
) -> None:
    built, vectors = any_index
    assert np.allclose(built.reconstruct([5, 0]), normalise(vectors[[5, 0]]), atol=1e-3)


def test_an_index_read_from_its_file_gives_the_same_results(
    any_index: tuple[CosineIndex, Vectors], tmp_path: Path
) -> None:
    built, _ = any_index
    files.write(built, tmp_path / "any.faiss")
    again = files.read(tmp_path / "any.faiss", built.factory)
    for exact in (False, True):
        expected, found = (one.search(QUERIES, 10, exact=exact) for one in (built, again))
        assert np.array_equal(found[1], expected[1])
        assert np.array_equal(found[0], expected[0])


@pytest.mark.parametrize(("fp16", "factory"), [(False, "SQfp16"), (True, "Flat"), (False, REFINED)])
def test_reading_an_index_of_another_factory_fails(
    fp16: bool, factory: Factory, tmp_path: Path
) -> None:
    file = tmp_path / "any.faiss"
    files.write(build(FEW, fp16=fp16), file)
    with pytest.raises(IndexFileError, match=r"any\.faiss holds a Index\w+, not a"):
        files.read(file, factory)


def test_reading_an_index_of_another_metric_fails(tmp_path: Path) -> None:
    file = tmp_path / "distance.faiss"
    faiss.write_index(faiss.IndexFlatL2(8), str(file))
    with pytest.raises(IndexFileError, match=r"distance\.faiss does not search by inner product"):
        files.read(file, "Flat")


@pytest.mark.parametrize("content", [b"", b"something else", b"IxFI"])
def test_reading_a_file_that_is_not_an_index_fails(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "any.faiss"
    file.write_bytes(content)
    with pytest.raises(IndexFileError, match=r"any\.faiss is not a FAISS index"):
        files.read(file, "Flat")


def test_concatenated_parts_give_the_results_of_the_original_index(refined: CosineIndex) -> None:
    parts = [(refined, np.arange(700, 2100)), (refined, np.arange(700))]
    combined = concatenate(parts, refined.projection)
    assert combined.factory == REFINED
    assert np.array_equal(combined.fp16([1400, 0]), refined.fp16([0, 700]))
    (scores, found), (expected, where) = (one.search(QUERIES, 10) for one in (combined, refined))
    assert np.array_equal((found + 700) % 2100, where)
    assert np.array_equal(scores, expected)
    again = concatenate([(combined, np.arange(2100))], combined.projection)
    assert np.array_equal(again.search(QUERIES, 10)[1], found)


def test_a_vector_along_a_direction_is_not_clipped_at_8_bits() -> None:
    # its component in that direction is 1, the largest that 8 bits must hold
    alike = decaying(2100, seed=1, dimension=600) * np.float32(1e-3)
    alike[:, 0] += 1
    built = build(alike)
    assert len(np.intersect1d(built.search(alike[:1], 10)[1], np.arange(2100))) == 10
    assert built.search(-alike[:1], 1)[0][0, 0] < -0.999
    outside = np.eye(600, dtype=np.float32)[1:2]
    assert abs(built.search(outside, 1)[0][0, 0]) < 0.1
    opposite = build(np.concatenate([alike[:2099], -alike[:1]]))
    assert opposite.search(-alike[:1], 1)[1][0, 0] == 2099


def test_an_older_bundles_index_is_read_and_concatenated(tmp_path: Path) -> None:
    unit = normalise(MANY)
    directions = Projection.fit(unit).directions
    transform = faiss.LinearTransform(DIMENSION, 256, False)
    faiss.copy_array_to_vector(directions.ravel(), transform.A)
    transform.is_trained = True
    flat = faiss.IndexPreTransform(transform, faiss.IndexFlatIP(256))
    flat.add(unit)
    old = faiss.IndexRefine(flat, cosine.from_fp16(unit.astype(np.float16)).vectors)
    old.ntotal = len(unit)
    old.k_factor = 20
    faiss.write_index(old, str(tmp_path / "old.faiss"))
    read = files.read(tmp_path / "old.faiss", "SVD256,Flat,Refine(SQfp16)")
    nearest = np.argsort(-cosines(QUERIES, MANY), axis=1)[:, :10]
    for one in (read, concatenate([(read, np.arange(len(read)))], read.projection)):
        found = one.search(QUERIES, 10)[1]
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True))
        assert hits / nearest.size >= 0.998


vectors_of_4 = arrays(
    np.float32, (5, 4), elements=st.floats(-10, 10, width=32, allow_subnormal=False)
).filter(lambda found: bool((np.linalg.norm(found, axis=1) > 0.1).all()))


@given(vectors_of_4, st.floats(0.01, 100))
def test_cosine_is_independent_of_the_querys_length(vectors: Vectors, scale: float) -> None:
    built = build(np.eye(4, dtype=np.float32))
    order = np.arange(4)
    plain, scaled = (
        np.stack([built.search(q, 1, row_ids=order[n : n + 1])[0][:, 0] for n in range(4)])
        for q in (vectors, vectors * np.float32(scale))
    )
    assert np.allclose(plain, scaled, atol=1e-5)


@given(vectors_of_4)
def test_cosines_are_at_most_one(vectors: Vectors) -> None:
    scores, _ = build(vectors).search(vectors, 5)
    assert (np.abs(scores) <= 1).all()


def test_cosine_is_independent_of_the_stored_vectors_length() -> None:
    lengths = np.random.default_rng(3).uniform(0.1, 9, (len(FEW), 1)).astype(np.float32)
    plain, scaled = (build(vectors).search(QUERIES, 10)[1] for vectors in (FEW, FEW * lengths))
    assert np.array_equal(plain, scaled)


def test_a_zero_vector_has_cosine_zero_to_all() -> None:
    scores, _ = build(FEW).search(np.zeros((1, DIMENSION), np.float32), 3)
    assert scores.tolist() == [[0.0, 0.0, 0.0]]


def test_searching_does_not_change_the_queries() -> None:
    queries = QUERIES.copy()
    build(FEW).search(queries, 3)
    assert np.array_equal(queries, QUERIES)

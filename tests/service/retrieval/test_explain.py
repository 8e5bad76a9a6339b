"""Attributions add up to the cosine similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.retrieval.explain import attribution, attribution_map, query_map
from tests.support.fakes import cosine
from training.bundle import Vectors


def vectors(seed: int, count: int, dimension: int) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


@given(st.integers(0, 2**32), st.integers(1, 5), st.floats(0.01, 100))
def test_attribution_maps_add_up_to_the_cosine(seed: int, count: int, scale: float) -> None:
    query, *others = vectors(seed, 1 + count, 8192) * np.float32(scale)
    maps = attribution_map(query, np.stack(others), (8, 8))
    assert maps.shape == (count, 8, 8)
    for one, other in zip(maps, others, strict=True):
        assert one.sum() == pytest.approx(cosine(query, other), abs=1e-4)


@given(st.integers(0, 2**32), st.integers(1, 5), st.floats(0.01, 100))
def test_maps_of_a_query_add_up_to_the_cosine_of_its_sum(
    seed: int, count: int, scale: float
) -> None:
    parts = vectors(seed, 1280, 49) * np.float32(scale)
    others = vectors(seed + 1, count, 1280)
    maps = query_map(parts.ravel(), others, (7, 7))
    assert maps.shape == (count, 7, 7)
    for one, other in zip(maps, others, strict=True):
        assert one.sum() == pytest.approx(cosine(parts.sum(1), other), abs=1e-4)


def test_a_map_of_a_query_locates_the_match() -> None:
    parts = np.zeros((4, 3, 3), np.float32)
    parts[1, 0, 2] = 2
    (found,) = query_map(parts.ravel(), np.eye(4, dtype=np.float32)[1:2], (3, 3))
    assert found[0, 2] == pytest.approx(1)
    assert np.delete(found.ravel(), 2) == pytest.approx(0)


@given(st.integers(0, 2**32), st.integers(2, 100))
def test_attributions_add_up_to_the_cosine(seed: int, dimension: int) -> None:
    query, other = vectors(seed, 2, dimension)
    assert attribution(query, other[None]).sum() == pytest.approx(cosine(query, other), abs=1e-4)


def test_attribution_maps_locate_the_match() -> None:
    query = np.zeros((128, 8, 8), np.float32)
    query[:, 2, 5] = 1
    (found,) = attribution_map(query.ravel(), query.reshape(1, -1), (8, 8))
    assert found[2, 5] == pytest.approx(1)
    assert np.delete(found.ravel(), 2 * 8 + 5) == pytest.approx(0)


def test_attributions_of_a_zero_vector_are_zero() -> None:
    assert not attribution(np.zeros(10, np.float32), np.ones((1, 10), np.float32)).any()

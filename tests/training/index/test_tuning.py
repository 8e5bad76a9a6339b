"""Recall, against numpy's brute force; and the effort that is chosen by it."""

import numpy as np
import pytest

from tests.training.index.test_cosine import FEW, MANY, cosines, decaying
from training.index.cosine import CosineIndex, build
from training.index.tuning import K_FACTORS, TARGET_RECALL, tune


@pytest.fixture
def composed() -> CosineIndex:
    return build(MANY)


def recall_of(index: CosineIndex, times: float) -> float:
    """The share of the ten nearest others of every vector that is found with so many candidates."""
    scores = cosines(MANY, MANY)
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1)[:, :10]
    index.k_factor = times
    _, found = index.search(MANY, 11)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True))
    return hits / nearest.size


def test_as_few_candidates_as_find_enough(composed: CosineIndex) -> None:
    quality = tune(composed)
    assert quality.candidates is not None
    assert composed.k_factor == quality.candidates / 10
    assert quality.recall_at_10 >= TARGET_RECALL
    assert recall_of(composed, quality.candidates / 11) == pytest.approx(
        quality.recall_at_10, abs=0.002
    )
    assert min(quality.milliseconds, quality.exact_milliseconds) > 0


def test_who_asks_for_less_looks_at_less(composed: CosineIndex) -> None:
    shapeless = build(np.random.default_rng(4).normal(size=(2100, 600)).astype(np.float32))
    chosen = [tune(shapeless, target_recall).candidates or 0 for target_recall in (0.5, 0.9, 1.0)]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]
    assert tune(composed, 0.0).candidates == K_FACTORS[0]


def test_a_flat_search_finds_all_without_candidates() -> None:
    quality = tune(build(FEW))
    assert (quality.recall_at_10, quality.candidates) == (1, None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_gallery_may_be_smaller_than_an_answer(count: int) -> None:
    assert tune(build(decaying(count, seed=1))).recall_at_10 == 1

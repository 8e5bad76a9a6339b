"""Recall against numpy's brute force, and the number of candidates chosen by it."""

import numpy as np
import pytest

from tests.training.index.test_cosine import FEW, MANY, cosines, decaying
from training.index.cosine import CosineIndex, build
from training.index.tuning import CANDIDATES, TARGET_RECALL, tune


@pytest.fixture
def two_stage() -> CosineIndex:
    return build(MANY)


def recall_of(index: CosineIndex, factor: float) -> float:
    """Return the share of every vector's ten nearest others that is found with this factor."""
    scores = cosines(MANY, MANY)
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1)[:, :10]
    index.k_factor = factor
    _, found = index.search(MANY, 11)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True))
    return hits / nearest.size


def test_tune_picks_the_fewest_candidates_that_reach_the_target_recall(
    two_stage: CosineIndex,
) -> None:
    quality = tune(two_stage)
    assert quality.candidates is not None
    assert two_stage.k_factor == quality.candidates / 10
    assert quality.recall_at_10 >= TARGET_RECALL
    assert recall_of(two_stage, quality.candidates / 11) == pytest.approx(
        quality.recall_at_10, abs=0.002
    )
    assert min(quality.milliseconds, quality.exact_milliseconds) > 0


@pytest.mark.slow
def test_a_lower_target_recall_needs_fewer_candidates(two_stage: CosineIndex) -> None:
    shapeless = build(np.random.default_rng(4).normal(size=(2100, 600)).astype(np.float32))
    chosen = [tune(shapeless, target_recall).candidates or 0 for target_recall in (0.5, 0.9, 1.0)]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]
    assert tune(two_stage, 0.0).candidates == CANDIDATES[0]


def test_a_flat_index_has_full_recall_and_no_candidates() -> None:
    quality = tune(build(FEW))
    assert (quality.recall_at_10, quality.candidates) == (1, None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tune_accepts_fewer_vectors_than_results(count: int) -> None:
    assert tune(build(decaying(count, seed=1))).recall_at_10 == 1

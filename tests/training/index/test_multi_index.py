"""Multi-index search gives the results of one index, for the work of one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from tests.training.index.test_cosine import MANY, QUERIES, cosines
from training.index.cosine import CosineIndex, Vectors, build, concatenate, from_fp16, normalise
from training.index.multi_index import Hit, search_multi
from training.index.projection import Positions, Projection

CUTS = (0, 1200, 1900, 1910, 2100)


def parts_of(whole: CosineIndex, projections: Sequence[Projection | None]) -> list[CosineIndex]:
    """Split an index into several."""
    return [
        concatenate([(whole, np.arange(start, end))], projection)
        for (start, end), projection in zip(pairwise(CUTS), projections, strict=True)
    ]


def whole_positions(hits: Sequence[Hit]) -> list[int]:
    """Return the positions of the hits in the whole index."""
    return [CUTS[hit.index_number] + hit.position for hit in hits]


@pytest.fixture(scope="module")
def whole() -> CosineIndex:
    """Return a two-stage index."""
    return build(MANY[:2100])


@pytest.fixture(scope="module")
def parts(whole: CosineIndex) -> list[CosineIndex]:
    """Return the same in four indexes that share one projection."""
    return parts_of(whole, [whole.projection] * 4)


def test_indexes_that_share_a_projection_give_the_results_of_one_index(
    whole: CosineIndex, parts: list[CosineIndex]
) -> None:
    whole.k_factor = parts[0].k_factor * (2100 / 1200) ** 0.5
    scores, positions = whole.search(QUERIES, 10)
    found = search_multi(parts, QUERIES, 10)
    assert [whole_positions(hits) for hits in found] == positions.tolist()
    assert np.allclose([[hit.score for hit in hits] for hits in found], scores, rtol=0, atol=1e-6)


def test_a_query_is_projected_once_and_rescores_as_few_vectors_as_one_index(
    parts: list[CosineIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    projected, rescored = [], []
    compare = CosineIndex.compare

    def count_projected(projection: Projection, vectors: Vectors) -> Vectors:
        projected.append(len(vectors))
        return projection.project(vectors)

    def count_rescored(
        self: CosineIndex, queries: Vectors, limit: int, row_ids: Positions | None = None
    ) -> object:
        assert row_ids is not None
        rescored.append(len(row_ids))
        return compare(self, queries, limit, row_ids)

    monkeypatch.setattr(CosineIndex, "compare", count_rescored)
    parts[0].k_factor = 3.0
    search_multi(parts, QUERIES[:1], 10, project=count_projected)
    assert projected == [1]
    assert sum(rescored) == 40  # of them 30 for the largest index alone


@pytest.mark.parametrize("mixed", [False, True])
def test_exact_and_restricted_searches_find_every_nearest_vector(
    whole: CosineIndex, *, mixed: bool
) -> None:
    own = whole.projection
    other = Projection.fit(normalise(MANY[:600]))
    parts = parts_of(whole, [own, None, other, other] if mixed else [None] * 4)
    _, nearest = whole.search(QUERIES, 2100, exact=True)
    exactly = search_multi(parts, QUERIES, 20, exact=True)
    assert [whole_positions(hits) for hits in exactly] == nearest[:, :20].tolist()
    row_ids = [np.arange(0, len(part), 3) for part in parts]
    allowed = {start + row for start, rows in zip(CUTS, row_ids, strict=False) for row in rows}
    filtered = search_multi(parts, QUERIES, 20, row_ids=row_ids)
    for hits, order in zip(filtered, nearest.tolist(), strict=True):
        assert whole_positions(hits) == [position for position in order if position in allowed][:20]


def test_flat_and_two_stage_indexes_are_searched_together(whole: CosineIndex) -> None:
    parts = parts_of(whole, [whole.projection, whole.projection, None, None])
    nearest = np.argsort(-cosines(QUERIES, MANY[:2100]), axis=1)[:, :10]
    found = search_multi(parts, QUERIES, 10)
    hits = sum(
        len(np.intersect1d(whole_positions(a), b)) for a, b in zip(found, nearest, strict=True)
    )
    assert hits / nearest.size >= 0.998
    for one in found:
        assert [hit.score for hit in one] == sorted((hit.score for hit in one), reverse=True)


def test_fewer_vectors_than_the_limit_are_all_returned(whole: CosineIndex) -> None:
    small = [
        from_fp16(whole.fp16([0, 1]), whole.projection),
        from_fp16(whole.fp16([2]), whole.projection),
    ]
    (hits,) = search_multi(small, QUERIES[:1], 10)
    assert sorted((hit.index_number, hit.position) for hit in hits) == [(0, 0), (0, 1), (1, 0)]
    assert search_multi([], QUERIES[:2], 10) == [[], []]

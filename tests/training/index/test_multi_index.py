"""Several indexes searched as one: the same answers, for the work of one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from tests.training.index.test_cosine import MANY, QUERIES, cosines
from training.index.cosine import CosineIndex, Vectors, build, concatenate, from_fp16, normalise
from training.index.multi_index import Hit, search_multi
from training.index.projection import Projection

CUTS = (0, 1200, 1900, 1910, 2100)


def parts_of(whole: CosineIndex, projections: Sequence[Projection | None]) -> list[CosineIndex]:
    """What an index has, as several of them."""
    return [
        concatenate([(whole, np.arange(start, end))], projection)
        for (start, end), projection in zip(pairwise(CUTS), projections, strict=True)
    ]


def places(hits: Sequence[Hit]) -> list[int]:
    """Where the hits are in the whole."""
    return [CUTS[hit.index_number] + hit.position for hit in hits]


@pytest.fixture(scope="module")
def whole() -> CosineIndex:
    """An index whose search is composed."""
    return build(MANY[:2100])


@pytest.fixture(scope="module")
def parts(whole: CosineIndex) -> list[CosineIndex]:
    """The same in four, of one reduction."""
    return parts_of(whole, [whole.projection] * 4)


def test_indexes_of_one_reduction_answer_as_one_index(
    whole: CosineIndex, parts: list[CosineIndex]
) -> None:
    whole.k_factor = parts[0].k_factor * (2100 / 1200) ** 0.5
    scores, positions = whole.search(QUERIES, 10)
    found = search_multi(parts, QUERIES, 10)
    assert [places(hits) for hits in found] == positions.tolist()
    assert np.allclose([[hit.score for hit in hits] for hits in found], scores, rtol=0, atol=1e-6)


def test_a_query_is_reduced_once_and_no_more_are_compared_than_in_one_index(
    parts: list[CosineIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    projected, compared = [], []
    reduce, search = Projection.project, CosineIndex.search

    def counted(self: Projection, vectors: Vectors) -> Vectors:
        projected.append(len(vectors))
        return reduce(self, vectors)

    def watched(self: CosineIndex, queries: Vectors, limit: int, **how: object) -> object:
        compared.append(len(how["among"]))  # type: ignore[arg-type]
        return search(self, queries, limit, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Projection, "project", counted)
    monkeypatch.setattr(CosineIndex, "search", watched)
    parts[0].k_factor = 3.0
    search_multi(parts, QUERIES[:1], 10)
    assert projected == [1]
    assert sum(compared) == 40  # of them 30 for the largest index alone


@pytest.mark.parametrize("mixed", [False, True])
def test_exactly_and_among_some_all_are_found(whole: CosineIndex, *, mixed: bool) -> None:
    own = whole.projection
    other = Projection.fit(normalise(MANY[:600]))
    parts = parts_of(whole, [own, None, other, other] if mixed else [None] * 4)
    _, nearest = whole.search(QUERIES, 2100, exact=True)
    exactly = search_multi(parts, QUERIES, 20, exact=True)
    assert [places(hits) for hits in exactly] == nearest[:, :20].tolist()
    row_ids = [np.arange(0, len(part), 3) for part in parts]
    wanted = {start + row for start, rows in zip(CUTS, row_ids, strict=False) for row in rows}
    filtered = search_multi(parts, QUERIES, 20, row_ids=row_ids)
    for hits, order in zip(filtered, nearest.tolist(), strict=True):
        assert places(hits) == [place for place in order if place in wanted][:20]


def test_flat_and_composed_indexes_are_searched_together(whole: CosineIndex) -> None:
    parts = parts_of(whole, [whole.projection, whole.projection, None, None])
    nearest = np.argsort(-cosines(QUERIES, MANY[:2100]), axis=1)[:, :10]
    found = search_multi(parts, QUERIES, 10)
    hits = sum(len(np.intersect1d(places(a), b)) for a, b in zip(found, nearest, strict=True))
    assert hits / nearest.size >= 0.998
    for one in found:
        assert [hit.score for hit in one] == sorted((hit.score for hit in one), reverse=True)


def test_fewer_are_found_where_there_are_fewer(whole: CosineIndex) -> None:
    small = [
        from_fp16(whole.fp16([0, 1]), whole.projection),
        from_fp16(whole.fp16([2]), whole.projection),
    ]
    (hits,) = search_multi(small, QUERIES[:1], 10)
    assert sorted((hit.index_number, hit.position) for hit in hits) == [(0, 0), (0, 1), (1, 0)]
    assert search_multi([], QUERIES[:2], 10) == [[], []]

"""Several indexes searched as one: the same answers, for the work of one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from tests.training.index.test_cosine import MANY, QUERIES, cosines
from training.index.cosine import CosineIndex, Vectors, build, join, normalise, pack
from training.index.multi_index import Hit, search_as_one
from training.index.projection import Reduction

CUTS = (0, 1200, 1900, 1910, 2100)


def parts_of(whole: CosineIndex, reductions: Sequence[Reduction | None]) -> list[CosineIndex]:
    """What an index has, as several of them."""
    return [
        join([(whole, np.arange(start, end))], reduction)
        for (start, end), reduction in zip(pairwise(CUTS), reductions, strict=True)
    ]


def places(hits: Sequence[Hit]) -> list[int]:
    """Where the hits are in the whole."""
    return [CUTS[hit.number] + hit.position for hit in hits]


@pytest.fixture(scope="module")
def whole() -> CosineIndex:
    """An index whose search is composed."""
    return build(MANY[:2100])


@pytest.fixture(scope="module")
def parts(whole: CosineIndex) -> list[CosineIndex]:
    """The same in four, of one reduction."""
    return parts_of(whole, [whole.reduction] * 4)


def test_indexes_of_one_reduction_answer_as_one_index(
    whole: CosineIndex, parts: list[CosineIndex]
) -> None:
    whole.candidates = parts[0].candidates * (2100 / 1200) ** 0.5
    scores, positions = whole.search(QUERIES, 10)
    found = search_as_one(parts, QUERIES, 10)
    assert [places(hits) for hits in found] == positions.tolist()
    assert np.allclose([[hit.score for hit in hits] for hits in found], scores, rtol=0, atol=1e-6)


def test_a_query_is_reduced_once_and_no_more_are_compared_than_in_one_index(
    parts: list[CosineIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced, compared = [], []
    reduce, search = Reduction.reduce, CosineIndex.search

    def counted(self: Reduction, vectors: Vectors) -> Vectors:
        reduced.append(len(vectors))
        return reduce(self, vectors)

    def watched(self: CosineIndex, queries: Vectors, limit: int, **how: object) -> object:
        compared.append(len(how["among"]))  # type: ignore[arg-type]
        return search(self, queries, limit, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Reduction, "reduce", counted)
    monkeypatch.setattr(CosineIndex, "search", watched)
    parts[0].candidates = 3.0
    search_as_one(parts, QUERIES[:1], 10)
    assert reduced == [1]
    assert sum(compared) == 40  # of them 30 for the largest index alone


@pytest.mark.parametrize("mixed", [False, True])
def test_exactly_and_among_some_all_are_found(whole: CosineIndex, *, mixed: bool) -> None:
    own = whole.reduction
    other = Reduction.of(normalise(MANY[:600]))
    parts = parts_of(whole, [own, None, other, other] if mixed else [None] * 4)
    _, nearest = whole.search(QUERIES, 2100, exact=True)
    exactly = search_as_one(parts, QUERIES, 20, exact=True)
    assert [places(hits) for hits in exactly] == nearest[:, :20].tolist()
    among = [np.arange(0, len(part), 3) for part in parts]
    wanted = {start + row for start, rows in zip(CUTS, among, strict=False) for row in rows}
    filtered = search_as_one(parts, QUERIES, 20, among=among)
    for hits, order in zip(filtered, nearest.tolist(), strict=True):
        assert places(hits) == [place for place in order if place in wanted][:20]


def test_flat_and_composed_indexes_are_searched_together(whole: CosineIndex) -> None:
    parts = parts_of(whole, [whole.reduction, whole.reduction, None, None])
    nearest = np.argsort(-cosines(QUERIES, MANY[:2100]), axis=1)[:, :10]
    found = search_as_one(parts, QUERIES, 10)
    hits = sum(len(np.intersect1d(places(a), b)) for a, b in zip(found, nearest, strict=True))
    assert hits / nearest.size >= 0.998
    for one in found:
        assert [hit.score for hit in one] == sorted((hit.score for hit in one), reverse=True)


def test_fewer_are_found_where_there_are_fewer(whole: CosineIndex) -> None:
    small = [pack(whole.halves([0, 1]), whole.reduction), pack(whole.halves([2]), whole.reduction)]
    (hits,) = search_as_one(small, QUERIES[:1], 10)
    assert sorted((hit.number, hit.position) for hit in hits) == [(0, 0), (0, 1), (1, 0)]
    assert search_as_one([], QUERIES[:2], 10) == [[], []]

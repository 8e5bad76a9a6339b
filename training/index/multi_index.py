"""Several indexes searched as if all their vectors were in one.

Those that share a reduction propose together: however many there are, a query is reduced once, and
as few vectors are compared in full as in one index. Knows indexes; nothing of images.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np

from training.index.cosine import CosineIndex, Positions, Vectors, normalise
from training.index.projection import Projection


class Hit(NamedTuple):
    """A vector that is near."""

    score: float
    """The cosine."""
    index_number: int
    """The position of its index in the sequence that was searched."""
    position: int


def search_multi(
    indexes: Sequence[CosineIndex],
    queries: Vectors,
    limit: int,
    *,
    exact: bool = False,
    row_ids: Sequence[Positions] | None = None,
) -> list[list[Hit]]:
    """The `limit` nearest to each query [N, dimension] in all of the indexes, best first.

    `exact` and `row_ids`, the positions for each index, are as for `CosineIndex.search`.
    """
    queries = normalise(queries)
    found: list[list[Hit]] = [[] for _ in queries]
    if exact or row_ids is not None:
        for number, index in enumerate(indexes):
            only = None if row_ids is None else row_ids[number]
            _collect(found, number, index.search(queries, limit, exact=exact, row_ids=only))
    else:
        for projection, numbers in _alike(indexes):
            if projection is None or len(numbers) == 1:
                for number in numbers:
                    _collect(found, number, indexes[number].search(queries, limit))
            else:
                _search_together(found, indexes, numbers, projection, queries, limit)
    return [sorted(hits, key=_best_first)[:limit] for hits in found]


def _best_first(hit: Hit) -> tuple[float, int, int]:
    return -hit.score, hit.index_number, hit.position


def _alike(indexes: Sequence[CosineIndex]) -> list[tuple[Projection | None, list[int]]]:
    """The numbers of the indexes that share a reduction."""
    groups: dict[int, tuple[Projection | None, list[int]]] = {}
    for number, index in enumerate(indexes):
        groups.setdefault(id(index.projection), (index.projection, []))[1].append(number)
    return list(groups.values())


def _collect(
    found: list[list[Hit]],
    number: int,
    answers: tuple[Vectors, Positions],
    first: int = 0,
) -> None:
    """Add the answers of an index to queries, from the `first` on."""
    for query, (scores, positions) in enumerate(zip(*answers, strict=True), first):
        found[query] += (
            Hit(score, number, position)
            for score, position in zip(scores.tolist(), positions.tolist(), strict=True)
            if position >= 0  # FAISS pads with -1 where it finds fewer
        )


def _search_together(
    found: list[list[Hit]],
    indexes: Sequence[CosineIndex],
    numbers: Sequence[int],
    projection: Projection,
    queries: Vectors,
    limit: int,
) -> None:
    some = [indexes[number] for number in numbers]
    count = _candidates(some, limit)
    projected = projection.project(queries)
    proposals = [index.propose(projected, count) for index in some]
    scores = np.concatenate([scores for scores, _ in proposals], axis=1)
    positions = np.concatenate([positions for _, positions in proposals], axis=1)
    owners = np.repeat(numbers, [found.shape[1] for found, _ in proposals])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    for query, chosen in enumerate(best):
        for number in numbers:
            proposed = positions[query, chosen[owners[chosen] == number]]
            if len(proposed):
                answers = indexes[number].search(
                    queries[query : query + 1], limit, row_ids=proposed
                )
                _collect(found, number, answers, query)


def _candidates(indexes: Sequence[CosineIndex], limit: int) -> int:
    """How many vectors are to be compared in full.

    Every index says how many for itself, those that nobody has measured generously. Eight times as
    many images of CIFAR-10 were found to need not quite three times as many.
    """
    total = sum(map(len, indexes))
    times = min(index.k_factor * sqrt(total / len(index)) for index in indexes)
    return min(total, ceil(limit * times))

"""Multi-index search: several indexes searched as if one index held all their vectors.

Indexes that share a projection propose candidates together. A query is then projected once, and
as few vectors are rescored as in one index. Works on indexes; independent of images.
"""

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np

from training.index.cosine import CosineIndex, Positions, Vectors, normalise
from training.index.projection import Projection

Project = Callable[[Projection, Vectors], Vectors]
"""Projects unit vectors [N, dimension] as `Projection.project` does."""


class Hit(NamedTuple):
    """One search result."""

    score: float
    """The cosine."""
    index_number: int
    """The position of its index in the sequence that was searched."""
    position: int
    """The position of the vector in that index."""


def search_multi(
    indexes: Sequence[CosineIndex],
    queries: Vectors,
    limit: int,
    *,
    exact: bool = False,
    row_ids: Sequence[Positions] | None = None,
    project: Project = Projection.project,
) -> list[list[Hit]]:
    """Return the `limit` nearest vectors of all indexes to each query [N, dimension], best first.

    `exact` and `row_ids` (one array for each index) are those of `CosineIndex.search`. `project`
    projects the queries of a two-stage search.
    """
    queries = normalise(queries)
    results: list[list[Hit]] = [[] for _ in queries]
    if exact or row_ids is not None:
        for number, index in enumerate(indexes):
            only = None if row_ids is None else row_ids[number]
            _add_hits(results, number, index.search(queries, limit, exact=exact, row_ids=only))
    else:
        for projection, numbers in _group_by_projection(indexes):
            if projection is None:
                for number in numbers:
                    _add_hits(results, number, indexes[number].search(queries, limit))
            else:
                projected = project(projection, queries)
                _search_two_stage(results, indexes, numbers, queries, projected, limit)
    return [sorted(hits, key=_best_first)[:limit] for hits in results]


def _best_first(hit: Hit) -> tuple[float, int, int]:
    return -hit.score, hit.index_number, hit.position


def _group_by_projection(
    indexes: Sequence[CosineIndex],
) -> list[tuple[Projection | None, list[int]]]:
    """Group the numbers of the indexes by the projection that they share."""
    groups: dict[int, tuple[Projection | None, list[int]]] = {}
    for number, index in enumerate(indexes):
        groups.setdefault(id(index.projection), (index.projection, []))[1].append(number)
    return list(groups.values())


def _add_hits(
    results: list[list[Hit]],
    number: int,
    found: tuple[Vectors, Positions],
    first_query: int = 0,
) -> None:
    """Add what one index found for consecutive queries, starting with `first_query`."""
    for query, (scores, positions) in enumerate(zip(*found, strict=True), first_query):
        results[query] += (
            Hit(score, number, position)
            for score, position in zip(scores.tolist(), positions.tolist(), strict=True)
            if position >= 0  # FAISS pads with -1 if it finds fewer
        )


def _search_two_stage(
    results: list[list[Hit]],
    indexes: Sequence[CosineIndex],
    numbers: Sequence[int],
    queries: Vectors,
    projected: Vectors,
    limit: int,
) -> None:
    """Rescore the best candidates of all indexes that share a projection."""
    group = [indexes[number] for number in numbers]
    count = _candidate_count(group, limit)
    proposals = [index.coarse.propose(projected, count) for index in group if index.coarse]
    scores = np.concatenate([scores for scores, _ in proposals], axis=1)
    positions = np.concatenate([positions for _, positions in proposals], axis=1)
    index_numbers = np.repeat(numbers, [scores.shape[1] for scores, _ in proposals])
    if scores.shape[1] > count:
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    else:
        best = np.tile(np.arange(scores.shape[1]), (len(queries), 1))
    for query, columns in enumerate(best):
        for number in numbers:
            candidates = positions[query, columns[index_numbers[columns] == number]]
            if len(candidates):
                found = indexes[number].compare(queries[query : query + 1], limit, candidates)
                _add_hits(results, number, found, query)


def _candidate_count(indexes: Sequence[CosineIndex], limit: int) -> int:
    """Return how many vectors to rescore for each query.

    `k_factor` is tuned for each index alone. For the group it is scaled by the square root of the
    ratio of sizes: eight times as many images of CIFAR-10 needed almost three times as many
    candidates. The smallest scaled factor is used, since untuned factors are large.
    """
    total = sum(map(len, indexes))
    factor = min(index.k_factor * sqrt(total / len(index)) for index in indexes)
    return min(total, ceil(limit * factor))

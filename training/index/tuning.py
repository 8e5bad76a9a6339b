"""Recall and latency of an index, and the number of candidates that reaches a target recall.

The queries are the index's own vectors, each left out of its own results. They always exist, and
no further images need to be embedded.
"""

import time
from typing import Final

import numpy as np

from training.base_model import Frozen
from training.index.cosine import CosineIndex, Positions, Vectors

TARGET_RECALL: Final = 0.998
"""The default share of the exact ten nearest that a search must find."""
MARGIN: Final = 0.0007
"""Required above the target: the recall of a sample may differ by this from that of all queries."""
NEAREST: Final = 10
SAMPLED_QUERIES: Final = 1_000
TIMED_QUERIES: Final = 50
CANDIDATES: Final = (80, 90, 100, 110, 120, 135, 150, 175, 200, 250, 300, 400, 500, 1_000, 2_000)
"""Candidates for ten results, in the order in which they are tried."""


class Quality(Frozen):
    """Recall of the exact ten nearest, and median milliseconds of one query.

    `candidates` is the number of vectors rescored for ten results; None if all are compared.
    """

    recall_at_10: float
    milliseconds: float
    exact_milliseconds: float
    candidates: int | None = None


def tune(index: CosineIndex, target_recall: float = TARGET_RECALL) -> Quality:
    """Set the smallest number of candidates that reaches `target_recall`, and measure the index.

    If no number reaches it, the largest one is set. A flat index is only measured.
    """
    sample = np.unique(np.linspace(0, len(index) - 1, SAMPLED_QUERIES).astype(np.int64))
    queries = index.reconstruct(sample)
    nearest = _neighbours(index, queries, sample, exact=True)
    for candidates in CANDIDATES if index.is_two_stage else ():
        # A query finds itself, so ten neighbours need eleven results from the same candidates.
        index.k_factor = candidates / (NEAREST + 1)
        recall = _recall(_neighbours(index, queries, sample), nearest)
        index.k_factor = candidates / NEAREST
        if recall >= min(1, target_recall + MARGIN):
            break
    else:
        recall = _recall(_neighbours(index, queries, sample), nearest)
    return Quality(
        recall_at_10=recall,
        milliseconds=_median_milliseconds(index, queries, exact=False),
        exact_milliseconds=_median_milliseconds(index, queries, exact=True),
        candidates=round(index.k_factor * NEAREST) if index.is_two_stage else None,
    )


def _neighbours(
    index: CosineIndex, queries: Vectors, own: Positions, *, exact: bool = False
) -> list[set[int]]:
    """Return the ten nearest to each query, without the query itself."""
    _, positions = index.search(queries, NEAREST + 1, exact=exact)
    return [
        set([position for position in row if position != query][:NEAREST])
        for row, query in zip(positions.tolist(), own.tolist(), strict=True)
    ]


def _recall(found: list[set[int]], nearest: list[set[int]]) -> float:
    """Return the share of the nearest that were found; 1 if there are none to find."""
    hits = sum(len(a & b) for a, b in zip(found, nearest, strict=True))
    return hits / max(1, sum(map(len, nearest))) if any(nearest) else 1.0


def _median_milliseconds(index: CosineIndex, queries: Vectors, *, exact: bool) -> float:
    seconds = []
    for query in queries[:TIMED_QUERIES]:
        started = time.perf_counter()
        index.search(query[None], NEAREST, exact=exact)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1000

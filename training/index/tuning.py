"""How much of the exact answer a search finds, and how long it takes; and how far it must look.

An index is asked for what is near its own vectors, each left out of its own answer: there are
always some, no network has learned from a gallery, and nothing else need be embedded.
"""

import time
from typing import Final

import numpy as np

from training.base_model import Frozen
from training.index.cosine import CosineIndex, Positions, Vectors

TARGET_RECALL: Final = 0.998
"""The share of the exact ten nearest that is to be found, unless told otherwise."""
MARGIN: Final = 0.0007
"""Found beyond that: so far may the recall of so many probes be from that of all queries."""
NEAREST: Final = 10
PROBES: Final = 1_000
TIMED: Final = 50
K_FACTORS: Final = (80, 90, 100, 110, 120, 135, 150, 175, 200, 250, 300, 400, 500, 1_000, 2_000)
"""Candidates for ten answers, tried in turn."""


class Quality(Frozen):
    """What a search finds of the exact ten nearest, and how long one query takes.

    `candidates` are the vectors that are compared in full for that; None: all are.
    """

    recall_at_10: float
    milliseconds: float
    exact_milliseconds: float
    candidates: int | None = None


def tune(index: CosineIndex, target_recall: float = TARGET_RECALL) -> Quality:
    """Have an index look at as few candidates as find `target_recall`, and measure it so.

    Where no effort finds as much, it makes the greatest.
    """
    probes = np.unique(np.linspace(0, len(index) - 1, PROBES).astype(np.int64))
    queries = index.reconstruct(probes)
    nearest = _others(index, queries, probes, exact=True)
    for factor in K_FACTORS if index.composed else ():
        # one place of eleven is the query's own, so as many candidates as for ten
        index.k_factor = factor / (NEAREST + 1)
        recall = _recall(_others(index, queries, probes), nearest)
        index.k_factor = factor / NEAREST
        if recall >= min(1, target_recall + MARGIN):
            break
    else:
        recall = _recall(_others(index, queries, probes), nearest)
    return Quality(
        recall_at_10=recall,
        milliseconds=_median_milliseconds(index, queries, exact=False),
        exact_milliseconds=_median_milliseconds(index, queries, exact=True),
        candidates=round(index.k_factor * NEAREST) if index.composed else None,
    )


def _others(
    index: CosineIndex, queries: Vectors, own: Positions, *, exact: bool = False
) -> list[set[int]]:
    """The ten nearest to each query but itself."""
    _, found = index.search(queries, NEAREST + 1, exact=exact)
    return [
        set([near for near in row if near != mine][:NEAREST])
        for row, mine in zip(found.tolist(), own.tolist(), strict=True)
    ]


def _recall(found: list[set[int]], nearest: list[set[int]]) -> float:
    """The share of the nearest that were found; all, where there are none to find."""
    hits = sum(len(a & b) for a, b in zip(found, nearest, strict=True))
    return hits / max(1, sum(map(len, nearest))) if any(nearest) else 1.0


def _median_milliseconds(index: CosineIndex, queries: Vectors, *, exact: bool) -> float:
    seconds = []
    for query in queries[:TIMED]:
        started = time.perf_counter()
        index.search(query[None], NEAREST, exact=exact)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1000

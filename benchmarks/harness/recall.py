"""Computes recall of an approximate search."""

import numpy as np

from training.bundle import Positions


def recall(found: Positions, nearest: Positions) -> float:
    """The share of the exact nearest that were found."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, nearest, strict=True))
    return hits / nearest.size

"""Computes the recall of an approximate search."""

import numpy as np

from training.bundle import Positions


def recall(found: Positions, nearest: Positions) -> float:
    """Compute the share of the exact nearest, [Q, K], that a search found, [Q, K]."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, nearest, strict=True))
    return hits / nearest.size

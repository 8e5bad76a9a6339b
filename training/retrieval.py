"""How good the neighbours are: the share of an image's nearest that have its own label.

Knows an index and labels; nothing of pixels or networks.
"""

import numpy as np
import numpy.typing as npt

from training.index import CosineIndex, Positions

NEAREST = 10
QUERIES = 1000


def pick_queries(labels: npt.NDArray[np.int64], count: int = QUERIES) -> Positions:
    """Up to `count` positions, the classes taking turns, each in gallery order."""
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        turn[members] = np.arange(members.sum())
    return np.argsort(turn, kind="stable")[:count].astype(np.int64)


def label_share(
    index: CosineIndex, labels: npt.NDArray[np.int64], queries: Positions
) -> npt.NDArray[np.float64]:
    """For each query, the share of its ten nearest with its own label, itself left out.

    Args:
        index: of the gallery.
        labels: of the gallery, [N].
        queries: positions in the gallery, [Q].

    Returns:
        Shares [Q] in [0, 1].

    """
    _, found = index.search(index.reconstruct(queries), NEAREST + 1)
    shares = []
    for query, positions in zip(queries, found, strict=True):
        others = positions[positions != query][:NEAREST]
        shares.append(np.mean(labels[others] == labels[query]))
    return np.array(shares)

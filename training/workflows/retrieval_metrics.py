"""How good the neighbours are: whether an image's nearest have its own label.

`precision_at_k` searches an index, as the service does; `rank` uses the exact order of cosines.
Knows vectors and labels; nothing of pixels or networks.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.experiments.record import LayerRetrieval, Ranking
from training.index.cosine import CosineIndex, Positions

NEAREST = 10
QUERIES = 1000
CHUNK = 500
"""Queries ranked at once."""


def pick_queries(labels: npt.NDArray[np.int64], count: int = QUERIES) -> Positions:
    """Up to `count` positions, the classes taking turns, each in gallery order."""
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        turn[members] = np.arange(members.sum())
    return np.argsort(turn, kind="stable")[:count].astype(np.int64)


def precision_at_k(
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


def rank(vectors: Tensor, labels: Tensor, classes: int) -> LayerRetrieval:
    """Let every image be the query once, and rank all the others by their cosine to it.

    An image whose class has no other is no query: there is nothing to be found.

    Args:
        vectors: [N, dimension].
        labels: int64 [N], on the same device.
        classes: how many there are.

    """
    unit = functional.normalize(vectors.float(), dim=1)
    members = torch.bincount(labels, minlength=classes)
    queries = (members[labels] > 1).nonzero().squeeze(1)
    if not len(queries):
        raise ValueError("no two images have the same label")
    chunks = [_rank_chunk(unit, labels, chunk) for chunk in queries.split(CHUNK)]
    figures = torch.cat(chunks).cpu()
    asked = labels[queries].cpu()
    return LayerRetrieval(
        dimension=vectors.shape[1],
        queries=len(queries),
        gallery=len(labels),
        overall=_ranking(figures),
        by_class=tuple(
            _ranking(figures[asked == label]) if (asked == label).any() else None
            for label in range(classes)
        ),
    )


def _rank_chunk(unit: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Precision at 10 and average precision of each query, [Q, 2]."""
    cosines = unit[queries] @ unit.T
    cosines[torch.arange(len(queries), device=unit.device), queries] = -torch.inf
    order = cosines.sort(dim=1, descending=True, stable=True).indices
    order = order[:, :-1]  # the last is the query
    hits = (labels[order] == labels[queries].unsqueeze(1)).double()
    places = torch.arange(1, hits.shape[1] + 1, device=unit.device)
    average = (hits * hits.cumsum(1) / places).sum(1) / hits.sum(1)
    return torch.stack((hits[:, :NEAREST].mean(1), average), dim=1)


def _ranking(figures: Tensor) -> Ranking:
    precision, average = figures.mean(0).tolist()
    return Ranking(precision_at_10=precision, mean_average_precision=average)

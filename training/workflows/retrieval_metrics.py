"""Retrieval metrics: precision at 10 and mean average precision, by label.

`precision_at_k` searches an index, as the service does; `rank` sorts by the exact cosines.
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
"""Queries in one matrix product, which bounds the memory of `rank`."""


def pick_queries(labels: npt.NDArray[np.int64], count: int = QUERIES) -> Positions:
    """Return up to `count` positions, one of each class in rotation, in gallery order."""
    rank_in_class = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank_in_class[members] = np.arange(members.sum())
    return np.argsort(rank_in_class, kind="stable")[:count].astype(np.int64)


def precision_at_k(
    index: CosineIndex, labels: npt.NDArray[np.int64], queries: Positions
) -> npt.NDArray[np.float64]:
    """Return each query's precision at 10: the share of its ten nearest with its label.

    The query itself does not count.

    Args:
        index: index of the gallery.
        labels: labels of the gallery, int64 [N].
        queries: positions in the gallery, int64 [Q].

    Returns:
        Precisions float64 [Q], from 0 to 1.

    """
    _, found = index.search(index.reconstruct(queries), NEAREST + 1)
    precisions = []
    for query, positions in zip(queries, found, strict=True):
        others = positions[positions != query][:NEAREST]
        precisions.append(np.mean(labels[others] == labels[query]))
    return np.array(precisions)


def rank(vectors: Tensor, labels: Tensor, classes: int) -> LayerRetrieval:
    """Rank all other images by their cosine to each image, and average over the queries.

    An image that is alone in its class is not a query.

    Args:
        vectors: float [N, dimension].
        labels: int64 [N], on the same device.
        classes: number of classes.

    Raises:
        ValueError: no two images have the same label.

    """
    unit = functional.normalize(vectors.float(), dim=1)
    members = torch.bincount(labels, minlength=classes)
    queries = (members[labels] > 1).nonzero().squeeze(1)
    if not len(queries):
        raise ValueError("no two images have the same label")
    chunks = [_rank_chunk(unit, labels, chunk) for chunk in queries.split(CHUNK)]
    metrics = torch.cat(chunks).cpu()
    query_labels = labels[queries].cpu()
    return LayerRetrieval(
        dimension=vectors.shape[1],
        queries=len(queries),
        gallery=len(labels),
        overall=_ranking(metrics),
        by_class=tuple(
            _ranking(metrics[query_labels == label]) if (query_labels == label).any() else None
            for label in range(classes)
        ),
    )


def _rank_chunk(unit: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Return the precision at 10 and the average precision of each query, float64 [Q, 2]."""
    cosines = unit[queries] @ unit.T
    cosines[torch.arange(len(queries), device=unit.device), queries] = -torch.inf
    order = cosines.sort(dim=1, descending=True, stable=True).indices
    order = order[:, :-1]  # without the query, which is last
    hits = (labels[order] == labels[queries].unsqueeze(1)).double()
    ranks = torch.arange(1, hits.shape[1] + 1, device=unit.device)
    average = (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1)
    return torch.stack((hits[:, :NEAREST].mean(1), average), dim=1)


def _ranking(metrics: Tensor) -> Ranking:
    precision, average = metrics.mean(0).tolist()
    return Ranking(precision_at_10=precision, mean_average_precision=average)

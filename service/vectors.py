"""Query vectors, wherever they are: in NumPy arrays or on the device."""

from torch import Tensor

from training.bundle import Vectors

Queries = Vectors | Tensor
"""Vectors [N, dimension] that are looked for: in memory, or where the network runs."""


def in_memory(vectors: Queries) -> Vectors:
    """The same as an array, float32."""
    if not isinstance(vectors, Tensor):
        return vectors
    array: Vectors = vectors.float().cpu().numpy()
    return array

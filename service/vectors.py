"""Query vectors on either side of the device boundary: NumPy arrays or tensors."""

from torch import Tensor

from training.bundle import Vectors

Queries = Vectors | Tensor
"""Query vectors [N, dimension], in memory or on the network's device."""


def in_memory(vectors: Queries) -> Vectors:
    """Return query vectors as a float32 array in memory."""
    if not isinstance(vectors, Tensor):
        return vectors
    array: Vectors = vectors.float().cpu().numpy()
    return array

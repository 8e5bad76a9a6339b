"""Query vectors on either side of the device boundary: NumPy arrays or tensors."""

from typing import TYPE_CHECKING, Union

import numpy as np

from training.bundle import Vectors

if TYPE_CHECKING:  # imported where PyTorch runs something
    from torch import Tensor

Queries = Union[Vectors, "Tensor"]
"""Query vectors [N, dimension], in memory or on the network's device."""


def in_memory(vectors: Queries) -> Vectors:
    """Return query vectors as a float32 array in memory."""
    if isinstance(vectors, np.ndarray):
        return vectors
    array: Vectors = vectors.float().cpu().numpy()
    return array

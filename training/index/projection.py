"""The few dimensions in which an index looks first, before whole vectors are compared.

Knows vectors and FAISS; nothing of what is searched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt
import torch

Vectors = npt.NDArray[np.float32]

PROJECTED_DIMENSIONS: Final = 256
"""How many they are."""
STEPS: Final = 127
"""What 1 is in the coarse search's whole numbers: all that a part of a unit vector can be."""
FEW: Final = 16
"""Up to so many queries, one thread searches: a service has others for other requests."""


class Projection:
    """The dimensions that hold most of some vectors. Indexes that share one are searched as one.

    Parts of unit vectors are stored in 8 bits, as whole numbers of `STEPS`, rounded down: that
    takes the same from all scores of a query. Queries are not rounded.
    """

    def __init__(self, transform: faiss.LinearTransform, owner: object = None) -> None:
        """Take a transform as it is; its owner lives as long as this does."""
        self._transform = transform
        self._owner = owner

    @classmethod
    def from_directions(cls, directions: Vectors) -> "Projection":
        """Take these [256, dimension], of length 1, for the dimensions."""
        count, dimension = directions.shape
        transform = faiss.LinearTransform(dimension, count, False)
        scaled = np.ascontiguousarray(directions * np.float32(STEPS))
        faiss.copy_array_to_vector(scaled.ravel(), transform.A)
        transform.is_trained = True
        return cls(transform)

    @classmethod
    def fit(cls, vectors: Vectors) -> "Projection":
        """Find those of vectors [N, dimension]; where there are fewer than 256, N of them.

        By an uncentred randomised SVD (Halko et al., 2011): centring would be another measure than
        the cosine.
        """
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, _, directions = torch.svd_lowrank(torch.from_numpy(vectors), q=PROJECTED_DIMENSIONS)
        return cls.from_directions(directions.T.contiguous().numpy())

    @property
    def directions(self) -> Vectors:
        """The dimensions, [256, dimension]."""
        found: Vectors = faiss.vector_to_array(self._transform.A)
        return found.reshape(self._transform.d_out, -1) / np.float32(STEPS)

    def project(self, vectors: Vectors) -> Vectors:
        """Vectors [N, dimension] in these dimensions, in `STEPS`, [N, 256]."""
        with threads_for(len(vectors)):
            projected: Vectors = self._transform.apply(np.ascontiguousarray(vectors))
        return projected

    def coarse(self, projected: Vectors) -> faiss.IndexPreTransform:
        """Index what `reduce` made, [N, 256], to be searched by whole vectors."""
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        small = faiss.IndexScalarQuantizer(projected.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        small.is_trained = True
        small.add(np.ascontiguousarray(projected))
        index = faiss.IndexPreTransform(self._transform, small)
        index.ntotal = len(projected)
        return index


@contextmanager
def threads_for(queries: int) -> Iterator[None]:
    """One thread for a few queries, else all; it is OpenMP's setting for the calling thread alone.

    A single query has so little for a second thread to do that waiting for it takes longer, and ten
    times as long where the network is using that core: 1.3 ms against 18 ms for 1,000 vectors of
    8192, two cores, both busy.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if queries <= FEW else before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

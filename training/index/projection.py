"""The projection to 256 dimensions for the coarse stage of a two-stage search.

Works on vectors and FAISS indexes; independent of what the vectors stand for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

PROJECTED_DIMENSIONS: Final = 256
INT8_SCALE: Final = 127
"""The integer that stands for 1, the largest component that a unit vector can have."""
SINGLE_THREAD_QUERIES: Final = 16
"""Maximum batch of queries for one thread; other requests use the other threads."""


class Projection:
    """A linear projection to the directions of the largest singular values (truncated SVD).

    Indexes that share a projection are searched together. Projected unit vectors are stored at 8
    bits, scaled by `INT8_SCALE` and rounded down. Rounding down lowers all scores of a query by
    about the same, so their order stays. Queries are not rounded.
    """

    def __init__(self, transform: faiss.LinearTransform, owner: object = None) -> None:
        """Wrap a transform. `owner` is the FAISS object whose memory the transform shares."""
        self._transform = transform
        self._owner = owner

    @classmethod
    def from_directions(cls, directions: Vectors) -> "Projection":
        """Project to these directions [256, dimension], each of length 1."""
        count, dimension = directions.shape
        transform = faiss.LinearTransform(dimension, count, False)
        scaled = np.ascontiguousarray(directions * np.float32(INT8_SCALE))
        faiss.copy_array_to_vector(scaled.ravel(), transform.A)
        transform.is_trained = True
        return cls(transform)

    @classmethod
    def fit(cls, vectors: Vectors) -> "Projection":
        """Fit the projection to vectors [N, dimension]. With fewer than 256, it has N directions.

        The directions come from an uncentred randomised SVD (Halko et al., 2011). Centring would
        change the measure: inner products of centred vectors are not cosines.
        """
        import torch  # noqa: PLC0415 - only where an index is built

        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, _, directions = torch.svd_lowrank(torch.from_numpy(vectors), q=PROJECTED_DIMENSIONS)
        return cls.from_directions(directions.T.contiguous().numpy())

    @property
    def matrix(self) -> Vectors:
        """The matrix [256, dimension] that vectors are multiplied by: the scaled directions."""
        scaled: Vectors = faiss.vector_to_array(self._transform.A)
        return scaled.reshape(self._transform.d_out, -1)

    @property
    def directions(self) -> Vectors:
        """The directions projected to, [256, dimension]."""
        return self.matrix / np.float32(INT8_SCALE)

    def project(self, vectors: Vectors) -> Vectors:
        """Project vectors [N, dimension] to [N, 256], scaled by `INT8_SCALE`."""
        with omp_threads_for(len(vectors)):
            projected: Vectors = self._transform.apply(np.ascontiguousarray(vectors))
        return projected

    def build_coarse_index(self, projected: Vectors) -> faiss.IndexPreTransform:
        """Index vectors that `project` returned, [N, 256], for queries of the full dimension."""
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        quantized = faiss.IndexScalarQuantizer(projected.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        quantized.is_trained = True
        quantized.add(np.ascontiguousarray(projected))
        index = faiss.IndexPreTransform(self._transform, quantized)
        index.ntotal = len(projected)
        return index


@contextmanager
def omp_threads_for(queries: int) -> Iterator[None]:
    """Limit FAISS to one OpenMP thread for a few queries. Applies to the calling thread only.

    One query has so little work that waiting for a second thread takes longer than the search.
    With 1,000 vectors of 8192 on two cores, both busy, it took 18 ms with two threads, 1.3 with
    one.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if queries <= SINGLE_THREAD_QUERIES else before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

"""The first stage of a two-stage search: vectors of 256 dimensions at 8 bits propose candidates.

Works on vectors and their positions; independent of what the vectors stand for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

PROJECTED_DIMENSIONS: Final = 256
INT8_SCALE: Final = 127
"""The integer that stands for 1, the largest component that a unit vector can have."""
ROUNDED_DOWN: Final = 0.5
"""How much smaller a component at 8 bits is on average, because it was rounded down."""
SINGLE_THREAD_QUERIES: Final = 16
"""Maximum batch of queries for one thread; other requests use the other threads."""


class Projection:
    """A linear projection to the directions of the largest singular values (truncated SVD).

    Indexes that share a projection are searched together. Projected unit vectors are stored at 8
    bits, scaled by `INT8_SCALE` and rounded down. Rounding down lowers all scores of a query by
    about the same, so their order stays. Queries are not rounded.
    """

    def __init__(self, transform: faiss.LinearTransform) -> None:
        self.transform = transform
        """The linear map of FAISS, which is part of an index's file."""

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
        scaled: Vectors = faiss.vector_to_array(self.transform.A)
        return scaled.reshape(self.transform.d_out, -1)

    @property
    def directions(self) -> Vectors:
        """The directions projected to, [256, dimension]."""
        return self.matrix / np.float32(INT8_SCALE)

    def project(self, vectors: Vectors) -> Vectors:
        """Project vectors [N, dimension] to [N, 256], scaled by `INT8_SCALE`."""
        with omp_threads_for(len(vectors)):
            projected: Vectors = self.transform.apply(np.ascontiguousarray(vectors))
        return projected


class CoarseIndex:
    """Projected vectors at 8 bits, whose inner products with a projected query rank candidates."""

    def __init__(self, projection: Projection, codes: faiss.IndexScalarQuantizer) -> None:
        self.projection = projection
        self.codes = codes
        """The index of FAISS with the projected vectors."""

    @classmethod
    def build(cls, projection: Projection, projected: Vectors) -> "CoarseIndex":
        """Index vectors that `projection` projected, [N, 256]."""
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        codes = faiss.IndexScalarQuantizer(projected.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        codes.is_trained = True
        codes.add(np.ascontiguousarray(projected))
        return cls(projection, codes)

    def propose(self, projected: Vectors, count: int) -> tuple[Vectors, Positions]:
        """Return the candidates for projected queries [N, 256].

        Returns:
            Scores [N, K], comparable between indexes that share the projection, and positions
            [N, K].

        """
        with omp_threads_for(len(projected)):
            proposals: tuple[Vectors, Positions] = self.codes.search(
                projected, min(count, self.codes.ntotal)
            )
        return proposals

    def projected(self, rows: Positions) -> Vectors:
        """Return the projected vectors at these positions, [N, 256], at the middle of each step."""
        decoded: Vectors = self.codes.reconstruct_batch(rows)
        return decoded + np.float32(ROUNDED_DOWN)


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

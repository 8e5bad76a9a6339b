"""The cosine index: the stored vectors most similar to a query.

Cosine is the inner product of normalised vectors, so every FAISS index here uses that metric.
Works on vectors and their positions; independent of images, ids and labels.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal

import faiss
import numpy as np
import numpy.typing as npt

from training.index.projection import (
    PROJECTED_DIMENSIONS,
    CoarseIndex,
    Positions,
    Projection,
    Vectors,
    omp_threads_for,
)

__all__ = [
    "FLAT_INDEX_LIMIT",
    "CosineIndex",
    "Factory",
    "Fp16Vectors",
    "Positions",
    "Vectors",
    "build",
    "concatenate",
    "from_fp16",
    "normalise",
]

Fp16Vectors = npt.NDArray[np.float16]
Factory = Literal["Flat", "SQfp16", "SVD256,SQ8,Refine(SQfp16)"]
"""The kind of an index, as FAISS writes it."""

DEFAULT_K_FACTOR = 30.0
"""Candidates per result of an index that was not tuned: enough for CIFAR-10's 60,000 images."""
FLAT_INDEX_LIMIT = 2_000
"""Maximum number of vectors of a flat index, which compares all of them."""


class CosineIndex:
    """Unit vectors, searched by cosine. Searching is thread-safe.

    With a coarse index, a search has two stages: the coarse index proposes candidates, and their
    vectors are compared. Without one, all vectors are compared.
    """

    def __init__(self, vectors: faiss.Index, coarse: CoarseIndex | None = None) -> None:
        self.vectors = vectors
        """The flat index of FAISS, at fp32 or fp16."""
        self.coarse = coarse
        self.k_factor = DEFAULT_K_FACTOR
        """Candidates that the coarse index proposes per result."""

    def __len__(self) -> int:
        return int(self.vectors.ntotal)

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.vectors.d)

    @property
    def is_two_stage(self) -> bool:
        """Whether a coarse index proposes candidates."""
        return self.coarse is not None

    @property
    def projection(self) -> Projection | None:
        """The projection of the coarse index; None without one."""
        return self.coarse.projection if self.coarse else None

    @property
    def factory(self) -> Factory:
        """The kind of this index."""
        if self.coarse:
            return "SVD256,SQ8,Refine(SQfp16)"
        return "SQfp16" if isinstance(self.vectors, faiss.IndexScalarQuantizer) else "Flat"

    def search(
        self,
        queries: Vectors,
        limit: int,
        *,
        exact: bool = False,
        row_ids: Positions | None = None,
    ) -> tuple[Vectors, Positions]:
        """Return the `limit` nearest vectors to each query, best first.

        Args:
            queries: [N, dimension], of any length but 0.
            limit: results per query; there are fewer if fewer vectors are searched.
            exact: compare every stored vector (fp16 keeps cosines to about 1e-4).
            row_ids: if given, compare only the vectors at these positions, exactly.

        Returns:
            Cosines [N, K] in [-1, 1] and positions [N, K].

        """
        queries = normalise(queries)
        if self.coarse is None or exact or row_ids is not None:
            return self.compare(queries, limit, row_ids)
        count = ceil(limit * self.k_factor)
        _, candidates = self.coarse.propose(self.coarse.projection.project(queries), count)
        shape = (len(queries), min(limit, len(self)))
        scores, positions = np.empty(shape, np.float32), np.empty(shape, np.int64)
        for row in range(len(queries)):
            found = self.compare(queries[row : row + 1], limit, candidates[row])
            scores[row], positions[row] = found[0][0], found[1][0]
        return scores, positions

    def compare(
        self, queries: Vectors, limit: int, row_ids: Positions | None = None
    ) -> tuple[Vectors, Positions]:
        """Compare unit vectors [N, dimension] with all stored vectors, or with those at `row_ids`.

        Returns:
            The cosines [N, K] and positions [N, K] of the `limit` nearest, best first.

        """
        parameters = None
        limit = min(limit, len(self))
        if row_ids is not None:
            selected = np.zeros(len(self), np.bool_)
            selected[row_ids] = True
            limit = min(limit, int(np.count_nonzero(selected)))
            bits = np.packbits(selected, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]  # as its wrapper accepts it
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # added at import
        if limit == 0:
            empty = (len(queries), 0)
            return np.zeros(empty, np.float32), np.zeros(empty, np.int64)
        with omp_threads_for(len(queries)):
            scores, positions = self.vectors.search(queries, limit, params=parameters)
        return np.clip(scores, -1.0, 1.0), positions

    def fp16(self, positions: Sequence[int] | Positions) -> Fp16Vectors:
        """Return the unit vectors at these positions as fp16 [N, dimension].

        Vectors stored as fp16 are copied, so they are not rounded twice.
        """
        rows = np.asarray(positions, dtype=np.int64)
        if not isinstance(self.vectors, faiss.IndexScalarQuantizer):
            return self.reconstruct(rows).astype(np.float16)
        size = len(self) * self.vectors.code_size
        codes = faiss.rev_swig_ptr(self.vectors.codes.data(), size)
        vectors: Fp16Vectors = codes.view(np.float16).reshape(len(self), -1)[rows]
        return vectors

    def projected(self, positions: Sequence[int] | Positions, projection: Projection) -> Vectors:
        """Return the projections of the vectors at these positions, [N, 256]."""
        rows = np.asarray(positions, dtype=np.int64)
        if self.coarse and self.coarse.projection is projection:
            return self.coarse.projected(rows)
        # in chunks: all full-length vectors at once would take too much memory
        starts = range(0, max(1, len(rows)), FLAT_INDEX_LIMIT)
        return np.concatenate(
            [
                projection.project(self.reconstruct(rows[start : start + FLAT_INDEX_LIMIT]))
                for start in starts
            ]
        )

    def reconstruct(self, positions: Sequence[int] | Positions) -> Vectors:
        """Return the stored unit vectors at these positions, [N, dimension]."""
        rows = np.ascontiguousarray(positions, dtype=np.int64)
        vectors: Vectors = self.vectors.reconstruct_batch(rows)
        return vectors


def build(vectors: Vectors, *, fp16: bool = False) -> CosineIndex:
    """Index vectors [N, dimension] in their order.

    Up to 2,000 vectors, or vectors of at most 512 dimensions, get a flat index. With `fp16` it
    stores them as fp16. Other vectors get a two-stage index: an inner product of 256 projected
    dimensions at 8 bits proposes candidates, and their fp16 vectors are compared.
    """
    vectors = normalise(vectors)
    count, dimension = vectors.shape
    coarse = None
    if count > FLAT_INDEX_LIMIT and dimension > 2 * PROJECTED_DIMENSIONS:
        fp16, projection = True, Projection.fit(vectors)
        coarse = CoarseIndex.build(projection, projection.project(vectors))
    index: faiss.Index = _fp16_index(dimension) if fp16 else faiss.IndexFlatIP(dimension)
    index.add(vectors)
    return CosineIndex(index, coarse)


def from_fp16(fp16: Fp16Vectors, projection: Projection | None = None) -> CosineIndex:
    """Index unit vectors [N, dimension] as they are, without rounding.

    The index is two-stage if `projection` is given, and flat otherwise, at any size.
    """
    index = _fp16_index(fp16.shape[1])
    index.add_sa_codes(np.ascontiguousarray(fp16).view(np.uint8))
    if projection is None:
        return CosineIndex(index)
    projected = projection.project(fp16.astype(np.float32))
    return CosineIndex(index, CoarseIndex.build(projection, projected))


def concatenate(
    parts: Sequence[tuple[CosineIndex, Sequence[int] | Positions]],
    projection: Projection | None = None,
) -> CosineIndex:
    """Index the vectors at some positions of other indexes, in that order, without rounding again.

    The index is two-stage if `projection` is given, and flat otherwise.
    """
    flat = from_fp16(np.concatenate([index.fp16(positions) for index, positions in parts]))
    if projection is None:
        return flat
    projected = np.concatenate(
        [index.projected(positions, projection) for index, positions in parts]
    )
    return CosineIndex(flat.vectors, CoarseIndex.build(projection, projected))


def normalise(vectors: Vectors) -> Vectors:
    """Scale vectors [N, dimension] to length 1. A zero vector stays zero: all its cosines are 0."""
    vectors = np.array(vectors, dtype=np.float32, order="C", ndmin=2)
    faiss.normalize_L2(vectors)
    return vectors


def _fp16_index(dimension: int) -> faiss.IndexScalarQuantizer:
    index = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True  # fp16 has nothing to train
    return index

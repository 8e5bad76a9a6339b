"""The cosine index: the stored vectors most similar to a query.

Cosine is the inner product of normalised vectors, so every FAISS index here uses that metric.
Works on vectors and their positions; independent of images, ids and labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import faiss
import numpy as np
import numpy.typing as npt

from training.index.projection import PROJECTED_DIMENSIONS, Projection, omp_threads_for

Vectors = npt.NDArray[np.float32]
Fp16Vectors = npt.NDArray[np.float16]
Positions = npt.NDArray[np.int64]
Factory = Literal[
    "Flat", "SQfp16", "SVD256,SQ8,Refine(SQfp16)", "SVD256,Flat,Refine(SQfp16)"
]  # only older bundles have the last one

TWO_STAGE_FACTORY: Final = "SVD256,SQ8,Refine(SQfp16)"

DEFAULT_K_FACTOR = 30.0
"""Candidates per result of an index that was not tuned: enough for CIFAR-10's 60,000 images."""
FLAT_INDEX_LIMIT = 2_000
"""Maximum number of vectors of a flat index, which compares all of them."""


class IndexFileError(RuntimeError):
    """The file does not hold an index of the expected kind; the message names the file."""


class CosineIndex:
    """Unit vectors, searched by cosine. Searching is thread-safe."""

    def __init__(
        self, index: faiss.Index, factory: Factory, projection: Projection | None = None
    ) -> None:
        self._index = index
        self._exact = index.refine_index if isinstance(index, faiss.IndexRefine) else index
        self.factory = factory
        self.projection = projection
        """The projection of the coarse search; None for a flat index."""

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self._index.d)

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
        parameters = None
        index = self._exact if exact else self._index
        limit = min(limit, len(self))
        if row_ids is not None:
            selected = np.zeros(len(self), np.bool_)
            selected[row_ids] = True
            limit = min(limit, int(selected.sum()))
            index = self._exact
            bits = np.packbits(selected, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]  # as its wrapper accepts it
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # added at import
        if limit == 0:
            empty = (len(queries), 0)
            return np.zeros(empty, np.float32), np.zeros(empty, np.int64)
        with omp_threads_for(len(queries)):
            scores, positions = index.search(queries, limit, params=parameters)
        return np.clip(scores, -1.0, 1.0), positions

    @property
    def is_two_stage(self) -> bool:
        """Whether a coarse search proposes candidates, which are then rescored exactly."""
        return isinstance(self._index, faiss.IndexRefine)

    @property
    def k_factor(self) -> float:
        """Candidates that the coarse search proposes per result; two-stage indexes only."""
        return float(self._index.k_factor)  # type: ignore[attr-defined]  # of an IndexRefine

    @k_factor.setter
    def k_factor(self, factor: float) -> None:
        self._index.k_factor = factor  # type: ignore[attr-defined]  # of an IndexRefine

    def propose(self, projected: Vectors, count: int) -> tuple[Vectors, Positions]:
        """Return the candidates of the coarse search alone.

        Args:
            projected: queries [N, 256], projected by `self.projection`.
            count: candidates per query.

        Returns:
            Scores [N, K], comparable between indexes that share the projection, and positions
            [N, K].

        """
        with omp_threads_for(len(projected)):
            proposals: tuple[Vectors, Positions] = _coarse(self._index).index.search(
                projected, min(count, len(self))
            )
        return proposals

    def fp16(self, positions: Sequence[int] | Positions) -> Fp16Vectors:
        """Return the unit vectors at these positions as fp16 [N, dimension].

        Vectors stored as fp16 are copied, so they are not rounded twice.
        """
        rows = np.asarray(positions, dtype=np.int64)
        if not isinstance(self._exact, faiss.IndexScalarQuantizer):
            return self.reconstruct(rows).astype(np.float16)
        size = len(self) * self._exact.code_size
        codes = faiss.rev_swig_ptr(self._exact.codes.data(), size)
        vectors: Fp16Vectors = codes.view(np.float16).reshape(len(self), -1)[rows]
        return vectors

    def projected(self, positions: Sequence[int] | Positions, projection: Projection) -> Vectors:
        """Return the projections of the vectors at these positions, [N, 256]."""
        rows = np.asarray(positions, dtype=np.int64)
        if self.projection is projection:
            coarse = faiss.downcast_index(_coarse(self._index).index)
            decoded: Vectors = coarse.reconstruct_batch(rows)
            return decoded + np.float32(0.5)
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
        vectors: Vectors = self._exact.reconstruct_batch(rows)
        return vectors

    def write(self, file: Path) -> None:
        """Write the index in FAISS's file format."""
        faiss.write_index(self._index, str(file))


def build(vectors: Vectors, *, fp16: bool = False) -> CosineIndex:
    """Index vectors [N, dimension] in their order.

    Up to 2,000 vectors, or vectors of at most 512 dimensions, get a flat index. With `fp16` it
    stores them as fp16. Other vectors get a two-stage index: an inner product of 256 projected
    dimensions at 8 bits proposes candidates, and their fp16 vectors rescore them.
    """
    vectors = normalise(vectors)
    count, dimension = vectors.shape
    if count > FLAT_INDEX_LIMIT and dimension > 2 * PROJECTED_DIMENSIONS:
        return _build_two_stage(vectors)
    index: faiss.Index = _fp16_index(dimension) if fp16 else faiss.IndexFlatIP(dimension)
    if fp16:
        index.train(vectors)
    index.add(vectors)
    return CosineIndex(index, "SQfp16" if fp16 else "Flat")


def from_fp16(fp16: Fp16Vectors, projection: Projection | None = None) -> CosineIndex:
    """Index unit vectors [N, dimension] as they are, without rounding.

    The index is two-stage if `projection` is given, and flat otherwise, at any size.
    """
    index = _fp16_index(fp16.shape[1])
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(fp16).view(np.uint8))
    if projection is None:
        return CosineIndex(index, "SQfp16")
    return _combine(projection, projection.project(fp16.astype(np.float32)), index)


def concatenate(
    parts: Sequence[tuple[CosineIndex, Sequence[int] | Positions]],
    projection: Projection | None = None,
) -> CosineIndex:
    """Index the vectors at some positions of other indexes, in that order, without rounding again.

    The index is two-stage if `projection` is given, and flat otherwise.
    """
    fine = from_fp16(np.concatenate([index.fp16(positions) for index, positions in parts]))
    if projection is None:
        return fine
    projected = np.concatenate(
        [index.projected(positions, projection) for index, positions in parts]
    )
    return _combine(projection, projected, fine._exact)


def read(file: Path, factory: Factory) -> CosineIndex:
    """Read an index that `CosineIndex.write` wrote.

    Raises:
        IndexFileError: the file is not an index, or not of that factory.

    """
    try:
        index = faiss.read_index(str(file))
    except RuntimeError as error:
        raise IndexFileError(f"{file} is not a FAISS index: {error}") from error
    kinds = {"Flat": faiss.IndexFlat, "SQfp16": faiss.IndexScalarQuantizer}
    if not isinstance(index, kinds.get(factory, faiss.IndexRefine)):
        raise IndexFileError(f"{file} holds a {type(index).__name__}, not a {factory!r} index")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IndexFileError(f"{file} does not search by inner product, so not by cosine")
    if not isinstance(index, faiss.IndexRefine):
        return CosineIndex(index, factory)
    transform: Any = faiss.downcast_VectorTransform(_coarse(index).chain.at(0))
    projection = Projection(transform, owner=index)
    if factory != TWO_STAGE_FACTORY:
        return _convert_to_8_bits(CosineIndex(index, factory), projection)
    return CosineIndex(index, factory, projection)


def normalise(vectors: Vectors) -> Vectors:
    """Scale vectors [N, dimension] to length 1. A zero vector stays zero: all its cosines are 0."""
    vectors = np.array(vectors, dtype=np.float32, order="C", ndmin=2)
    faiss.normalize_L2(vectors)
    return vectors


def _convert_to_8_bits(old: CosineIndex, projection: Projection) -> CosineIndex:
    """Convert an older bundle's index, whose projected vectors were not scaled to 8 bits."""
    directions = normalise(projection.directions)
    converted = concatenate([(old, np.arange(len(old)))], Projection.from_directions(directions))
    converted.k_factor = old.k_factor
    return converted


def _build_two_stage(vectors: Vectors) -> CosineIndex:
    projection = Projection.fit(vectors)
    fine = _fp16_index(vectors.shape[1])
    fine.train(vectors)
    fine.add(vectors)
    return _combine(projection, projection.project(vectors), fine)


def _combine(projection: Projection, projected: Vectors, fine: faiss.Index) -> CosineIndex:
    """Build a two-stage index of projected vectors [N, 256] and the index that rescores them."""
    index = faiss.IndexRefine(projection.build_coarse_index(projected), fine)
    index.ntotal = fine.ntotal
    index.k_factor = DEFAULT_K_FACTOR
    return CosineIndex(index, TWO_STAGE_FACTORY, projection)


def _coarse(index: faiss.Index) -> Any:  # Any: FAISS's types cover its base classes only
    return faiss.downcast_index(index.base_index)  # type: ignore[attr-defined]  # of an IndexRefine


def _fp16_index(dimension: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )

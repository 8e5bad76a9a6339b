"""The cosine index: which of many vectors point the way of this one.

Cosine is the inner product of normalised vectors, so everything here is FAISS's inner product.
Knows vectors and their positions; nothing of images, ids or labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import faiss
import numpy as np
import numpy.typing as npt

from training.index.projection import PROJECTED_DIMENSIONS, Projection, threads_for

Vectors = npt.NDArray[np.float32]
Fp16Vectors = npt.NDArray[np.float16]
Positions = npt.NDArray[np.int64]
Factory = Literal[
    "Flat", "SQfp16", "SVD256,SQ8,Refine(SQfp16)", "SVD256,Flat,Refine(SQfp16)"
]  # the last of them in older bundles

COMPOSED: Final = "SVD256,SQ8,Refine(SQfp16)"

CANDIDATES = 30.0
"""How many times the answers asked for the coarse search proposes, where nobody measured how many
it must: enough for 60,000 images of CIFAR-10."""
SMALL = 2_000
"""Up to so many vectors, looking at each of them is fast enough."""


class IndexFileError(RuntimeError):
    """The file does not hold an index of this kind; the message names it."""


class CosineIndex:
    """Vectors on the unit sphere, searched by cosine. Safe to search from several threads."""

    def __init__(
        self, index: faiss.Index, factory: Factory, projection: Projection | None = None
    ) -> None:
        self._index = index
        self._exact = index.refine_index if isinstance(index, faiss.IndexRefine) else index
        self.factory = factory
        self.projection = projection
        """In which dimensions the coarse search looks; None where there is none."""

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
        """The `limit` nearest to each query, best first.

        Args:
            queries: [N, dimension], of any length but 0.
            limit: how many; fewer come where there are fewer.
            exact: look at every vector, as stored (fp16 keeps cosines to about 1e-4).
            among: search these positions alone, exactly.

        Returns:
            Cosines [N, K] in [-1, 1] and positions [N, K].

        """
        queries = normalise(queries)
        parameters = None
        index = self._exact if exact else self._index
        limit = min(limit, len(self))
        if row_ids is not None:
            chosen = np.zeros(len(self), np.bool_)
            chosen[row_ids] = True
            limit = min(limit, int(chosen.sum()))
            index = self._exact
            bits = np.packbits(chosen, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]  # as its wrapper takes it
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # added at import
        if limit == 0:
            empty = (len(queries), 0)
            return np.zeros(empty, np.float32), np.zeros(empty, np.int64)
        with threads_for(len(queries)):
            scores, positions = index.search(queries, limit, params=parameters)
        return np.clip(scores, -1.0, 1.0), positions

    @property
    def composed(self) -> bool:
        """Whether a coarse search proposes candidates, of which the best are the answer."""
        return isinstance(self._index, faiss.IndexRefine)

    @property
    def k_factor(self) -> float:
        """How many are proposed for each answer asked for; of a composed index alone."""
        return float(self._index.k_factor)  # type: ignore[attr-defined]  # of an IndexRefine

    @k_factor.setter
    def k_factor(self, times: float) -> None:
        self._index.k_factor = times  # type: ignore[attr-defined]  # of an IndexRefine

    def propose(self, projected: Vectors, count: int) -> tuple[Vectors, Positions]:
        """What the coarse search alone finds, for queries that its reduction has reduced.

        Returns:
            Scores [N, K], which compare with those of other indexes of this reduction, and
            positions [N, K].

        """
        with threads_for(len(projected)):
            found: tuple[Vectors, Positions] = _coarse(self._index).index.search(
                projected, min(count, len(self))
            )
        return found

    def fp16(self, positions: Sequence[int] | Positions) -> Fp16Vectors:
        """The unit vectors at these positions as fp16, [N, dimension], rounded only once."""
        wanted = np.asarray(positions, dtype=np.int64)
        if not isinstance(self._exact, faiss.IndexScalarQuantizer):
            return self.reconstruct(wanted).astype(np.float16)
        size = len(self) * self._exact.code_size
        codes = faiss.rev_swig_ptr(self._exact.codes.data(), size)
        found: Fp16Vectors = codes.view(np.float16).reshape(len(self), -1)[wanted]
        return found

    def projected(self, positions: Sequence[int] | Positions, projection: Projection) -> Vectors:
        """The vectors at these positions as a reduction has them, [N, 256]."""
        wanted = np.asarray(positions, dtype=np.int64)
        if self.projection is projection:
            coarse = faiss.downcast_index(_coarse(self._index).index)
            rows: Vectors = coarse.reconstruct_batch(wanted)
            return rows + np.float32(0.5)
        starts = range(0, max(1, len(wanted)), SMALL)  # few at a time: whole vectors are long
        return np.concatenate(
            [projection.project(self.reconstruct(wanted[at : at + SMALL])) for at in starts]
        )

    def reconstruct(self, positions: Sequence[int] | Positions) -> Vectors:
        """The stored unit vectors at these positions, [N, dimension]."""
        wanted = np.ascontiguousarray(positions, dtype=np.int64)
        vectors: Vectors = self._exact.reconstruct_batch(wanted)
        return vectors

    def write(self, file: Path) -> None:
        """Write FAISS's own file format."""
        faiss.write_index(self._index, str(file))


def build(vectors: Vectors, *, fp16: bool = False) -> CosineIndex:
    """Index vectors [N, dimension] in their order.

    Short vectors, or few, are searched flat; `fp16` stores those as fp16. Else the search is
    composed: an inner product in the 256 dimensions that hold most of the vectors, in 8 bits each,
    proposes candidates, and the fp16 vectors themselves put them in order.
    """
    vectors = normalise(vectors)
    count, dimension = vectors.shape
    if count > SMALL and dimension > 2 * PROJECTED_DIMENSIONS:
        return _build_refined(vectors)
    index: faiss.Index = _half_precision(dimension) if fp16 else faiss.IndexFlatIP(dimension)
    if fp16:
        index.train(vectors)
    index.add(vectors)
    return CosineIndex(index, "SQfp16" if fp16 else "Flat")


def from_fp16(fp16: Fp16Vectors, projection: Projection | None = None) -> CosineIndex:
    """Index unit vectors [N, dimension] as they are, however many, to be looked at one by one.

    With a reduction, the search is composed as by `build`.
    """
    index = _half_precision(fp16.shape[1])
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(fp16).view(np.uint8))
    if projection is None:
        return CosineIndex(index, "SQfp16")
    return _compose(projection, projection.project(fp16.astype(np.float32)), index)


def concatenate(
    parts: Sequence[tuple[CosineIndex, Sequence[int] | Positions]],
    projection: Projection | None = None,
) -> CosineIndex:
    """Index what is at some positions of other indexes, in that order; nothing is rounded again.

    A reduction is as for `from_fp16`.
    """
    fine = from_fp16(np.concatenate([index.fp16(positions) for index, positions in parts]))
    if projection is None:
        return fine
    projected = np.concatenate(
        [index.projected(positions, projection) for index, positions in parts]
    )
    return _compose(projection, projected, fine._exact)


def read(file: Path, factory: Factory) -> CosineIndex:
    """Read what `CosineIndex.write` wrote.

    Raises:
        IndexFileError: not an index, or not of that factory.

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
    if factory != COMPOSED:
        return _in_8_bits(CosineIndex(index, factory), projection)
    return CosineIndex(index, factory, projection)


def normalise(vectors: Vectors) -> Vectors:
    """Vectors [N, dimension] at length 1; a vector of length 0 stays, and is like nothing."""
    vectors = np.array(vectors, dtype=np.float32, order="C", ndmin=2)
    faiss.normalize_L2(vectors)
    return vectors


def _in_8_bits(old: CosineIndex, projection: Projection) -> CosineIndex:
    """An older bundle's index as they are now; its dimensions were not in `STEPS`."""
    directions = normalise(projection.directions)
    found = concatenate([(old, np.arange(len(old)))], Projection.from_directions(directions))
    found.k_factor = old.k_factor
    return found


def _build_refined(vectors: Vectors) -> CosineIndex:
    projection = Projection.fit(vectors)
    fine = _half_precision(vectors.shape[1])
    fine.train(vectors)
    fine.add(vectors)
    return _compose(projection, projection.project(vectors), fine)


def _compose(projection: Projection, projected: Vectors, fine: faiss.Index) -> CosineIndex:
    index = faiss.IndexRefine(projection.coarse(projected), fine)
    index.ntotal = fine.ntotal
    index.k_factor = CANDIDATES
    return CosineIndex(index, COMPOSED, projection)


def _coarse(index: faiss.Index) -> Any:  # Any: FAISS's types know its base classes alone
    return faiss.downcast_index(index.base_index)  # type: ignore[attr-defined]  # of an IndexRefine


def _half_precision(dimension: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )

"""The cosine index: which of many vectors point the way of this one.

Cosine is the inner product of normalised vectors, so everything here is FAISS's inner product.
Knows vectors and their positions; nothing of images, ids or labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt
import torch

Vectors = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Positions = npt.NDArray[np.int64]
Factory = Literal[
    "Flat", "SQfp16", "SVD256,SQ8,Refine(SQfp16)", "SVD256,Flat,Refine(SQfp16)"
]  # the last of them in older bundles

REDUCED = 256
"""Dimensions of the first, coarse search of a refined index."""
STEPS = 127
"""What 1 is in the coarse search's whole numbers: all that a part of a unit vector can be."""
CANDIDATES = 30.0
"""How many times the answers asked for the coarse search proposes, where nobody measured how many
it must: enough for 60,000 images of CIFAR-10."""
SMALL = 2_000
"""Up to so many vectors, looking at each of them is fast enough."""
FEW = 16
"""Up to so many queries, one thread searches: a service has others for other requests."""


class IndexFileError(RuntimeError):
    """The file does not hold an index of this kind; the message names it."""


class CosineIndex:
    """Vectors on the unit sphere, searched by cosine. Safe to search from several threads."""

    def __init__(self, index: faiss.Index, factory: Factory) -> None:
        self._index = index
        self._exact = index.refine_index if isinstance(index, faiss.IndexRefine) else index
        self.factory = factory

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
        among: Positions | None = None,
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
        if among is not None:
            among = np.unique(among).astype(np.int64)
            limit = min(limit, len(among))
            index = self._exact
            selector = faiss.IDSelectorBatch(among)
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # added at import
        if limit == 0:
            empty = (len(queries), 0)
            return np.zeros(empty, np.float32), np.zeros(empty, np.int64)
        with _threads_for(len(queries)):
            scores, positions = index.search(queries, limit, params=parameters)
        return np.clip(scores, -1.0, 1.0), positions

    @property
    def composed(self) -> bool:
        """Whether a coarse search proposes candidates, of which the best are the answer."""
        return isinstance(self._index, faiss.IndexRefine)

    @property
    def candidates(self) -> float:
        """How many are proposed for each answer asked for; of a composed index alone."""
        return float(self._index.k_factor)  # type: ignore[attr-defined]  # of an IndexRefine

    @candidates.setter
    def candidates(self, times: float) -> None:
        self._index.k_factor = times  # type: ignore[attr-defined]  # of an IndexRefine

    @property
    def directions(self) -> Vectors | None:
        """The dimensions [256, dimension] of the coarse search; None where there is none."""
        if not self.composed:
            return None
        reduce: Any = faiss.downcast_VectorTransform(_coarse(self._index).chain.at(0))
        return normalise(faiss.vector_to_array(reduce.A).reshape(reduce.d_out, reduce.d_in))

    def halves(self, positions: Sequence[int] | Positions) -> Halves:
        """The unit vectors at these positions as fp16, [N, dimension], rounded only once."""
        wanted = np.asarray(positions, dtype=np.int64)
        if not isinstance(self._exact, faiss.IndexScalarQuantizer):
            return self.reconstruct(wanted).astype(np.float16)
        size = len(self) * self._exact.code_size
        codes = faiss.rev_swig_ptr(self._exact.codes.data(), size)
        found: Halves = codes.view(np.float16).reshape(len(self), -1)[wanted]
        return found

    def reduced(self, positions: Sequence[int] | Positions, directions: Vectors) -> Vectors:
        """The vectors at these positions in other dimensions, [N, 256]."""
        wanted = np.asarray(positions, dtype=np.int64)
        mine = self.directions
        if mine is not None and np.allclose(mine, directions, rtol=0, atol=1e-6):
            coarse = faiss.downcast_index(_coarse(self._index).index)
            rows: Vectors = coarse.reconstruct_batch(wanted)
            whole = isinstance(coarse, faiss.IndexScalarQuantizer)
            return (rows + np.float32(0.5)) / np.float32(STEPS) if whole else rows
        chunks = [
            self.reconstruct(wanted[start : start + SMALL]) @ directions.T
            for start in range(0, len(wanted), SMALL)
        ]
        return np.concatenate(chunks) if chunks else np.zeros((0, len(directions)), np.float32)

    def reconstruct(self, positions: Sequence[int] | Positions) -> Vectors:
        """The stored unit vectors at these positions, [N, dimension]."""
        wanted = np.ascontiguousarray(positions, dtype=np.int64)
        vectors: Vectors = self._exact.reconstruct_batch(wanted)
        return vectors

    def write(self, file: Path) -> None:
        """Write FAISS's own file format."""
        faiss.write_index(self._index, str(file))


def build(vectors: Vectors, *, half: bool = False) -> CosineIndex:
    """Index vectors [N, dimension] in their order.

    Short vectors, or few, are searched flat; `half` stores those as fp16. Else the search is
    composed: an inner product in the 256 dimensions that hold most of the vectors, in 8 bits each,
    proposes candidates, and the fp16 vectors themselves put them in order. The dimensions come from
    an uncentred randomised SVD (Halko et al., 2011): centring, or L2, would be another measure than
    the cosine.
    """
    vectors = normalise(vectors)
    count, dimension = vectors.shape
    if count > SMALL and dimension > 2 * REDUCED:
        return _build_refined(vectors)
    index: faiss.Index = _half_precision(dimension) if half else faiss.IndexFlatIP(dimension)
    if half:
        index.train(vectors)
    index.add(vectors)
    return CosineIndex(index, "SQfp16" if half else "Flat")


def pack(halves: Halves) -> CosineIndex:
    """Index unit vectors [N, dimension] as they are, however many, to be looked at one by one."""
    index = _half_precision(halves.shape[1])
    index.is_trained = True
    codes = np.ascontiguousarray(halves).view(np.uint8)
    index.add_sa_codes(codes)
    return CosineIndex(index, "SQfp16")


def join(
    parts: Sequence[tuple[CosineIndex, Sequence[int] | Positions]],
    directions: Vectors | None = None,
) -> CosineIndex:
    """Index what is at some positions of other indexes, in that order; nothing is rounded again.

    With `directions`, the search is composed as by `build`, with these for its dimensions.
    """
    fine = pack(np.concatenate([index.halves(positions) for index, positions in parts]))
    if directions is None:
        return fine
    coarse = np.concatenate([index.reduced(positions, directions) for index, positions in parts])
    pre = _reduction(directions)
    faiss.downcast_index(pre.index).add(np.ascontiguousarray(coarse * np.float32(STEPS)))
    pre.ntotal = len(coarse)
    return _compose(pre, fine._exact)


def find_directions(vectors: Vectors) -> Vectors:
    """The 256 dimensions [256, dimension] that hold most of vectors [N, dimension], N >= 256."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, _, directions = torch.svd_lowrank(torch.from_numpy(vectors), q=REDUCED)
    found: Vectors = directions.T.contiguous().numpy()
    return found


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
    return CosineIndex(index, factory)


def normalise(vectors: Vectors) -> Vectors:
    """Vectors [N, dimension] at length 1; a vector of length 0 stays, and is like nothing."""
    vectors = np.array(vectors, dtype=np.float32, order="C", ndmin=2)
    faiss.normalize_L2(vectors)
    return vectors


def _build_refined(vectors: Vectors) -> CosineIndex:
    coarse = _reduction(find_directions(vectors))
    fine = _half_precision(vectors.shape[1])
    fine.train(vectors)
    coarse.add(vectors)
    fine.add(vectors)
    return _compose(coarse, fine)


def _compose(coarse: faiss.Index, fine: faiss.Index) -> CosineIndex:
    index = faiss.IndexRefine(coarse, fine)
    index.ntotal = fine.ntotal
    index.k_factor = CANDIDATES
    return CosineIndex(index, "SVD256,SQ8,Refine(SQfp16)")


def _reduction(directions: Vectors) -> faiss.IndexPreTransform:
    """An inner product in other dimensions, in 8 bits each.

    Parts of unit vectors are stored as whole numbers of `STEPS`, rounded down: that takes the same
    from all scores of a query. Queries are not rounded.
    """
    count, dimension = directions.shape
    reduce = faiss.LinearTransform(dimension, count, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(directions * STEPS).ravel(), reduce.A)
    reduce.is_trained = True
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    coarse = faiss.IndexScalarQuantizer(count, kind, faiss.METRIC_INNER_PRODUCT)
    coarse.is_trained = True
    return faiss.IndexPreTransform(reduce, coarse)


def _coarse(index: faiss.Index) -> Any:  # Any: FAISS's types know its base classes alone
    return faiss.downcast_index(index.base_index)  # type: ignore[attr-defined]  # of an IndexRefine


def _half_precision(dimension: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )


@contextmanager
def _threads_for(queries: int) -> Iterator[None]:
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

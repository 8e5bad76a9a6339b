"""One index in a process of its own: built from a file of vectors, and searched when it is asked.

`INDEXES` has all that `benchmarks.search` compares; those that are not FAISS run in the peers'
environment. Each is set as its documentation advises for so many vectors, with one dial, `effort`,
from fast to sure. Vectors are unit vectors, so cosine is the inner product for all of them.
"""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Final, Protocol

import faiss
import numpy as np

from benchmarks.harness.server_process import memory_bytes
from benchmarks.harness.worker import send, serve
from training.base_model import Frozen
from training.bundle import Positions, Vectors
from training.index import cosine
from training.index.tuning import tune

NEAREST: Final = 10


class Built(Frozen):
    """What building took: seconds, and the memory that stays; and the efforts to try."""

    seconds: float
    resident_bytes: int
    efforts: tuple[int, ...]


class Search(Frozen):
    """Search all of `queries`, an .npy file of float32, in batches; keep positions in `found`."""

    queries: Path
    batch: int
    effort: int
    found: Path | None = None


class Timed(Frozen):
    """Milliseconds a query, batch by batch."""

    milliseconds: tuple[float, ...]


class Index(Protocol):
    """One way to search."""

    def __init__(self, vectors: Vectors) -> None:
        """Build it from unit vectors, float32 [N, dimension]."""

    @property
    def efforts(self) -> tuple[int, ...]:
        """Settings of its dial, from fast to sure; what they count is its own."""

    def search(self, queries: Vectors, effort: int) -> Positions:
        """Positions of the ten nearest to each of the unit vectors, [Q, 10]."""


class Flat:
    """FAISS: every vector, fp32."""

    efforts = (0,)

    def __init__(self, vectors: Vectors) -> None:
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: Vectors, effort: int) -> Positions:
        """Look at all of them."""
        found: Positions = self._index.search(queries, NEAREST)[1]
        return found


class Ours:
    """As a bundle has it."""

    efforts = (0,)

    def __init__(self, vectors: Vectors) -> None:
        self._index = cosine.build(vectors)
        tune(self._index)

    def search(self, queries: Vectors, effort: int) -> Positions:
        """As the service does."""
        return self._index.search(queries, NEAREST)[1]


class HNSW:
    """FAISS: a graph of neighbours, 32 links, fp32; the dial is `efSearch`."""

    efforts = (32, 64, 128, 256, 512, 1024)

    def __init__(self, vectors: Vectors) -> None:
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.add(vectors)

    def search(self, queries: Vectors, effort: int) -> Positions:
        """Walk the graph."""
        self._index.hnsw.efSearch = effort
        found: Positions = self._index.search(queries, NEAREST)[1]
        return found


class ScaNN:
    """ScaNN: all in 4 bits for two dimensions, then the fp32 vectors; the dial is how many of them.

    No tree: its documentation advises one from 100,000 vectors on.
    """

    efforts = (50, 100, 200, 400, 800, 1600)

    def __init__(self, vectors: Vectors) -> None:
        import scann  # noqa: PLC0415 - in the peers' environment

        builder = scann.scann_ops_pybind.builder(vectors, NEAREST, "dot_product")
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        self._index = builder.reorder(self.efforts[0]).build()

    def search(self, queries: Vectors, effort: int) -> Positions:
        """Order the quantised vectors' best by the vectors themselves."""
        if len(queries) == 1:
            found, _ = self._index.search(queries[0], pre_reorder_num_neighbors=effort)
            return np.asarray(found, dtype=np.int64)[None]
        found, _ = self._index.search_batched_parallel(queries, pre_reorder_num_neighbors=effort)
        return np.asarray(found, dtype=np.int64)


INDEXES: Final[dict[str, type[Index]]] = {
    "flat": Flat,
    "ours": Ours,
    "hnsw": HNSW,
    "scann": ScaNN,
}


def main(name: str, vectors: str, count: str) -> None:
    """Build, say what that took as `Built`, then answer each `Search` by a `Timed`.

    Args:
        name: of `INDEXES`.
        vectors: an .npy file of unit vectors, fp16 [N, dimension].
        count: how many of them, from the first.

    """
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    stored = np.load(vectors, mmap_mode="r")
    before = _held()
    given = np.array(stored[: int(count)], dtype=np.float32)
    faiss.normalize_L2(given)
    started = time.perf_counter()
    built = INDEXES[name](given)
    seconds = time.perf_counter() - started
    del given
    gc.collect()
    send(Built(seconds=seconds, resident_bytes=_held() - before, efforts=built.efforts))

    def measure(search: Search) -> Timed:
        queries = np.load(search.queries)
        found, times = [], []
        for start in range(0, len(queries) - search.batch + 1, search.batch):
            batch = queries[start : start + search.batch]
            started = time.perf_counter()
            positions = built.search(batch, search.effort)
            times.append((time.perf_counter() - started) * 1000 / search.batch)
            found.append(positions)
        if search.found:
            np.save(search.found, np.concatenate(found))
        return Timed(milliseconds=tuple(times))

    serve(Search, measure)


def _held() -> int:
    """Memory of this process that no file stands behind, in bytes."""
    return memory_bytes(os.getpid(), "RssAnon")


if __name__ == "__main__":
    main(*sys.argv[1:])

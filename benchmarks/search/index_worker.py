"""One index in a worker process: built from a file of vectors, and searched on request.

`INDEXES` has the indexes that `benchmarks.search` compares; indexes outside FAISS need the peers'
environment. Each is configured as its documentation advises for its number of vectors. Its search
parameter trades speed for recall. Vectors are unit vectors, so the cosine is the inner product.
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


class BuildReport(Frozen):
    """The seconds of the build, the memory that it left, and the search parameters to try."""

    seconds: float
    resident_bytes: int
    search_parameters: tuple[int, ...]


class SearchRequest(Frozen):
    """Search `queries`, an .npy file of float32, in batches; save the positions in `found`."""

    queries: Path
    batch: int
    search_parameter: int
    found: Path | None = None


class SearchTimes(Frozen):
    """Milliseconds per query, one value per batch."""

    milliseconds: tuple[float, ...]


class Index(Protocol):
    """An index of unit vectors with one search parameter, an integer."""

    parameter_name: str
    """Name of the search parameter; empty if there is none."""

    def __init__(self, vectors: Vectors) -> None:
        """Build the index from unit vectors, float32 [N, dimension]."""

    @property
    def search_parameters(self) -> tuple[int, ...]:
        """Values of the search parameter, from the fastest to the highest recall."""

    def search(self, queries: Vectors, parameter: int) -> Positions:
        """Return the positions of the ten nearest to each unit vector, [Q, 10]."""


class Flat:
    """FAISS's flat index, fp32: compares every vector."""

    parameter_name = ""
    search_parameters = (0,)

    def __init__(self, vectors: Vectors) -> None:
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: Vectors, parameter: int) -> Positions:
        """Compare every vector."""
        found: Positions = self._index.search(queries, NEAREST)[1]
        return found


class Ours:
    """The index of a bundle."""

    parameter_name = ""
    search_parameters = (0,)

    def __init__(self, vectors: Vectors) -> None:
        self._index = cosine.build(vectors)
        tune(self._index)

    def search(self, queries: Vectors, parameter: int) -> Positions:
        """Search as the service does."""
        return self._index.search(queries, NEAREST)[1]


class HNSW:
    """FAISS's HNSW graph, 32 links, fp32."""

    parameter_name = "efSearch"
    search_parameters = (32, 64, 128, 256, 512, 1024)

    def __init__(self, vectors: Vectors) -> None:
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.add(vectors)

    def search(self, queries: Vectors, parameter: int) -> Positions:
        """Traverse the graph."""
        self._index.hnsw.efSearch = parameter
        found: Positions = self._index.search(queries, NEAREST)[1]
        return found


class ScaNN:
    """ScaNN: 4 bits for two dimensions, then as many vectors as `reorder` are rescored with fp32.

    Has no tree, because the documentation advises one from 100,000 vectors.
    """

    parameter_name = "reorder"
    search_parameters = (50, 100, 200, 400, 800, 1600)

    def __init__(self, vectors: Vectors) -> None:
        import scann  # noqa: PLC0415 - in the peers' environment

        builder = scann.scann_ops_pybind.builder(vectors, NEAREST, "dot_product")
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        self._index = builder.reorder(self.search_parameters[0]).build()

    def search(self, queries: Vectors, parameter: int) -> Positions:
        """Rescore the best of the quantised vectors."""
        if len(queries) == 1:
            found, _ = self._index.search(queries[0], pre_reorder_num_neighbors=parameter)
            return np.asarray(found, dtype=np.int64)[None]
        found, _ = self._index.search_batched_parallel(queries, pre_reorder_num_neighbors=parameter)
        return np.asarray(found, dtype=np.int64)


INDEXES: Final[dict[str, type[Index]]] = {
    "flat": Flat,
    "ours": Ours,
    "hnsw": HNSW,
    "scann": ScaNN,
}


def main(name: str, vectors: str, count: str) -> None:
    """Build an index, send its `BuildReport`, then reply to each `SearchRequest`.

    Args:
        name: a key of `INDEXES`.
        vectors: an .npy file of unit vectors, fp16 [N, dimension].
        count: how many of them to index, from the first.

    """
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    stored = np.load(vectors, mmap_mode="r")
    before = _anonymous_bytes()
    given = np.array(stored[: int(count)], dtype=np.float32)
    faiss.normalize_L2(given)
    started = time.perf_counter()
    index = INDEXES[name](given)
    seconds = time.perf_counter() - started
    del given
    gc.collect()
    grown = _anonymous_bytes() - before
    send(
        BuildReport(
            seconds=seconds, resident_bytes=grown, search_parameters=index.search_parameters
        )
    )

    def measure(request: SearchRequest) -> SearchTimes:
        queries = np.load(request.queries)
        found, times = [], []
        for start in range(0, len(queries) - request.batch + 1, request.batch):
            batch = queries[start : start + request.batch]
            started = time.perf_counter()
            positions = index.search(batch, request.search_parameter)
            times.append((time.perf_counter() - started) * 1000 / request.batch)
            found.append(positions)
        if request.found:
            np.save(request.found, np.concatenate(found))
        return SearchTimes(milliseconds=tuple(times))

    serve(SearchRequest, measure)


def _anonymous_bytes() -> int:
    """Read the anonymous memory of this process: resident, and not mapped from a file."""
    return memory_bytes(os.getpid(), "RssAnon")


if __name__ == "__main__":
    main(*sys.argv[1:])

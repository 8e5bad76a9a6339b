"""A million conv2 vectors: synthetic ones with the spectrum of real ones, searched from disk.

A synthetic vector is the mean of the real ones plus a linear combination of `MIXED` random ones,
each less the mean. The weights are from the unit sphere. So mean and covariance are those of the
real vectors. Because few are mixed, some vectors are near each other, as among real ones.

The vectors take 16 GB, so they stay in their file. An index in fewer dimensions proposes
candidates, whose vectors are read from the file and rescored.
"""

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import torch

from benchmarks.harness.recall import recall
from benchmarks.harness.report import markdown_table, median_range, wrap
from benchmarks.harness.server_process import memory_bytes
from benchmarks.search.index_worker import NEAREST
from benchmarks.search.vectors import exact_nearest
from training.bundle import Positions, Vectors
from training.index.cosine import Fp16Vectors, normalise
from training.index.projection import PROJECTED_DIMENSIONS
from training.workflows.progress import print_line, track

COUNT: Final = 1_000_000
QUERIES: Final = 200
MIXED: Final = 2
"""Real vectors in a combination. Of 2, 3 and 6, 2 is the most like real vectors to search."""
CHUNK: Final = 10_000
"""Vectors generated or read at once."""
SAMPLE: Final = 50_000
"""Vectors from which the projection is computed."""
PROBES: Final = 128
"""Lists of an inverted file that are probed, of its 1,024."""
CANDIDATE_COUNTS: Final = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Numbers of candidates to rescore, tried in this order."""
TARGET_RECALL: Final = 0.998
SINGLES: Final = 50
"""Single queries of each round."""

COARSE: Final = (
    (PROJECTED_DIMENSIONS, "Flat"),
    (2 * PROJECTED_DIMENSIONS, "SQfp16"),
    (PROJECTED_DIMENSIONS, "IVF1024,Flat"),
)
"""First stages: the dimensions, and the FAISS factory string of the index in them. The first two
take the same bytes per vector."""
HEADER: Final = ("index", "candidates", "recall at 10", "one query, ms", "build, s", "memory, MB")
METHOD: Final = """
{count:,} synthetic vectors have the mean and the covariance of {real:,} real ones, and so their
spectrum. Each is that mean plus a random combination of {mixed} real vectors less the mean,
normalised, in fp16. The tenth nearest to a query has a mean cosine of {tenth:.3f}; among {real:,}
of them {tenth_of_subset:.3f}, and among as many real ones {tenth_of_real:.3f}.

The vectors take {gigabytes:.1f} GB and stay in a file. In memory is an inner product in the 256
dimensions that hold most (SVD), in fp32, or in 512 in fp16. It compares all vectors, or those of an
inverted file of 1,024 lists ({probes} probed). It proposes candidates, whose vectors are read from
the file: as many as give a recall of at least {target}, or else the most that was tried. There are
{queries} queries, made in the same way and not in the gallery. Comparing every vector takes
{scan:.0f} s, for all the queries at once. Graphs over whole vectors are left out: at fp32 the
vectors alone are {fp32:.0f} GB.
"""


def synthesise(real: Fp16Vectors, count: int, seed: int) -> Iterator[Vectors]:
    """Yield `count` synthetic unit vectors in chunks, float32 [N, dimension]."""
    random = torch.Generator().manual_seed(seed)
    source = torch.from_numpy(real)
    mean = torch.zeros(source.shape[1])
    for chunk in source.split(CHUNK):
        mean += chunk.float().sum(0) / len(source)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        weights = torch.nn.functional.normalize(torch.randn(size, MIXED, generator=random))
        parents = torch.randint(len(source), (size, MIXED), generator=random)
        vectors = mean * (1 - weights.sum(1, keepdim=True))
        for weight, parent in zip(weights.T, parents.T, strict=True):
            vectors += weight[:, None] * source[parent].float()
        yield normalise(vectors.numpy())


def write_synthetic(real: Fp16Vectors, count: int, file: Path) -> None:
    """Write synthetic vectors to a file, fp16 [count, dimension], atomically."""
    partial = file.with_suffix(".partial")
    shape = (count, real.shape[1])
    stored = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    with track("generating vectors", -(-count // CHUNK)) as on_chunk:
        for number, chunk in enumerate(synthesise(real, count, seed=0)):
            stored[number * CHUNK : number * CHUNK + len(chunk)] = chunk
            on_chunk()
    stored.flush()
    partial.replace(file)


class OnDiskIndex:
    """A two-stage index: a projection in memory, and the vectors in their file for rescoring."""

    def __init__(self, stored: Fp16Vectors, dimensions: int, factory: str) -> None:
        """Build the index; `factory` is the FAISS factory string of the first stage."""
        self._stored = stored
        sample = torch.from_numpy(_unit(stored[:: -(-len(stored) // SAMPLE)]))
        torch.manual_seed(0)
        _, _, self._directions = torch.svd_lowrank(sample, q=dimensions)
        del sample
        projected = np.concatenate([self._project(stored[i]) for i in _chunks(len(stored))])
        self._coarse = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        self._coarse.train(projected)
        self._coarse.add(projected)
        if isinstance(self._coarse, faiss.IndexIVF):
            self._coarse.nprobe = PROBES

    def search(self, queries: Vectors, count: int) -> Positions:
        """Return the positions of the ten nearest of `count` candidates to each query, [Q, 10]."""
        _, proposed = self._coarse.search(self._project(queries), count)
        found = []
        for query, candidates in zip(queries, proposed, strict=True):
            rows = np.sort(candidates[candidates >= 0])  # FAISS pads with -1
            cosines = torch.from_numpy(self._stored[rows]).float() @ torch.from_numpy(query)
            found.append(rows[cosines.topk(NEAREST).indices.numpy()])
        return np.stack(found)

    def _project(self, vectors: Fp16Vectors | Vectors) -> Vectors:
        projected: Vectors = (torch.from_numpy(_unit(vectors)) @ self._directions).numpy()
        return projected


@dataclass
class IndexResult:
    """The measurements of one index at one number of candidates."""

    name: str
    candidates: int
    recall: float
    build_seconds: float
    resident_bytes: int
    milliseconds: list[float] = field(default_factory=list)


def measure(
    stored: Fp16Vectors, coarse: tuple[int, str], queries: Vectors, nearest: Positions, rounds: int
) -> IndexResult:
    """Build an index, choose the candidates for the target recall, and time single queries."""
    before, started = _anonymous_bytes(), time.perf_counter()
    index = OnDiskIndex(stored, *coarse)
    seconds = time.perf_counter() - started
    gc.collect()
    name = "SVD{},{}, refined from disk".format(*coarse)
    result = IndexResult(name, 0, 0.0, seconds, _anonymous_bytes() - before)
    for result.candidates in CANDIDATE_COUNTS:
        result.recall = recall(index.search(queries, result.candidates), nearest)
        print_line(f"{result.name}, {result.candidates} candidates: recall {result.recall:.4f}")
        if result.recall >= TARGET_RECALL:
            break
    for _ in range(rounds):
        times = []
        for query in queries[:SINGLES]:
            started = time.perf_counter()
            index.search(query[None], result.candidates)
            times.append((time.perf_counter() - started) * 1000)
        result.milliseconds.append(float(np.median(times)))
    return result


def measure_all(real: Path, cache: Path, rounds: int, count: int = COUNT) -> str:
    """Measure all indexes, and return the section as Markdown; generate missing vectors."""
    source: Fp16Vectors = np.load(real, mmap_mode="c")
    file = cache / f"{real.stem}-synthetic-{count}.npy"
    if not file.exists():
        write_synthetic(source, count, file)
    stored: Fp16Vectors = np.load(file, mmap_mode="r")
    queries = np.concatenate(list(synthesise(source, QUERIES, seed=1)))
    started = time.perf_counter()
    cosines, nearest = exact_nearest(file, count, queries)
    scan = time.perf_counter() - started
    of_subset, _ = exact_nearest(file, len(source), queries)
    of_real, _ = exact_nearest(real, len(source), _unit(source[:: len(source) // QUERIES]))
    rows = [measure(stored, coarse, queries, nearest, rounds) for coarse in COARSE]
    text = METHOD.format(
        count=count,
        real=len(source),
        mixed=MIXED,
        gigabytes=stored.nbytes / 1e9,
        queries=QUERIES,
        tenth=cosines[:, -1].mean(),
        tenth_of_subset=of_subset[:, -1].mean(),
        tenth_of_real=of_real[:, -1].mean(),
        scan=scan,
        fp32=stored.nbytes * 2 / 1e9,
        target=TARGET_RECALL,
        probes=PROBES,
    )
    return wrap(text) + "\n\n" + markdown_table(HEADER, map(_cells, rows))


def _cells(row: IndexResult) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.candidates:,}",
        f"{row.recall:.4f}",
        median_range(row.milliseconds, 1),
        f"{row.build_seconds:,.0f}",
        f"{row.resident_bytes / 1e6:,.0f}",
    )


def _unit(stored: Fp16Vectors | Vectors) -> Vectors:
    return normalise(np.asarray(stored, dtype=np.float32))


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _anonymous_bytes() -> int:
    """Read the anonymous memory of this process: resident, and not mapped from a file."""
    return memory_bytes(os.getpid(), "RssAnon")

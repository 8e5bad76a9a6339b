"""A million conv2 vectors: synthetic ones with the spectrum of the real, searched from disk.

A synthetic vector is the mean of the real ones plus a random combination of `MIXED` of them, each
less the mean, with weights drawn from the unit sphere. So mean and covariance are those of the real
vectors, and with them the whole spectrum; and as few are mixed, some lie near each other, as real
ones do. They are kept at length 1 in fp16, like the real ones.

They take 16 GB, and stay in their file. What `training/index.py` composes is composed here around
it: an inner product in fewer dimensions proposes candidates, and their vectors, read from the file,
put them in order.
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
import numpy.typing as npt
import torch

from benchmarks.harness.recall import recall
from benchmarks.harness.report import spread, table, wrapped
from benchmarks.harness.server_process import memory_bytes
from benchmarks.search.index_worker import NEAREST
from benchmarks.search.vectors import exact_nearest
from training.bundle import Positions, Vectors
from training.index.cosine import normalise
from training.index.projection import PROJECTED_DIMENSIONS
from training.workflows.progress import print_line, track

Half = npt.NDArray[np.float16]

COUNT: Final = 1_000_000
QUERIES: Final = 200
MIXED: Final = 2
"""Of 2, 3 and 6, the number whose vectors are most like real ones to search."""
CHUNK: Final = 10_000
"""Vectors made, or read, at once."""
SAMPLE: Final = 50_000
"""Vectors of which the fewer dimensions are computed."""
PROBES: Final = 128
"""Lists of an inverted file that are looked at, of its 1,024."""
EFFORTS: Final = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""How many candidates' vectors are read, tried in turn."""
TARGET_RECALL: Final = 0.998
SINGLES: Final = 50


COARSE: Final = (
    (PROJECTED_DIMENSIONS, "Flat"),
    (2 * PROJECTED_DIMENSIONS, "SQfp16"),
    (PROJECTED_DIMENSIONS, "IVF1024,Flat"),
)
"""What proposes: so many dimensions, and FAISS's name of the index in them. The first two have as
many bytes a vector."""
HEADER: Final = ("index", "candidates", "recall at 10", "one query, ms", "build, s", "memory, MB")
METHOD: Final = """
{count:,} synthetic vectors with the mean and the covariance of {real:,} real ones, and so with
their spectrum: each is that mean plus a random combination of {mixed} real vectors less the mean,
at length 1, in fp16. The tenth nearest to a query has a mean cosine of {tenth:.3f}; among {real:,}
of them {tenth_of_few:.3f}, and among as many real ones {tenth_of_own:.3f}.

They take {gigabytes:.1f} GB and stay in a file; in memory is an inner product in those 256
dimensions that hold most (SVD), in fp32, or in 512 in fp16, by looking at all, or by an inverted
file of 1,024 lists ({probes} looked at). It proposes candidates,
whose vectors are read from the file: as many as give a recall of at least {enough}, or else the
most that was tried. {queries} queries, made alike and not in the gallery. To look at every vector
takes {scan:.0f} s, for all the queries at once. Graphs over whole vectors have no place here: at
fp32 the vectors alone are {fp32:.0f} GB.
"""


def like(real: Half, count: int, seed: int) -> Iterator[Vectors]:
    """Synthetic unit vectors, float32 [N, dimension] in chunks, `count` in all."""
    drawn = torch.Generator().manual_seed(seed)
    source = torch.from_numpy(real)
    mean = torch.zeros(source.shape[1])
    for chunk in source.split(CHUNK):
        mean += chunk.float().sum(0) / len(source)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        weights = torch.nn.functional.normalize(torch.randn(size, MIXED, generator=drawn))
        parents = torch.randint(len(source), (size, MIXED), generator=drawn)
        made = mean * (1 - weights.sum(1, keepdim=True))
        for weight, parent in zip(weights.T, parents.T, strict=True):
            made += weight[:, None] * source[parent].float()
        yield normalise(made.numpy())


def write(real: Half, count: int, file: Path) -> None:
    """Make the vectors and keep them, whole or not at all."""
    growing = file.with_suffix(".growing")
    shape = (count, real.shape[1])
    stored = np.lib.format.open_memmap(growing, mode="w+", dtype=np.float16, shape=shape)
    with track("making vectors", -(-count // CHUNK)) as on_chunk:
        for number, made in enumerate(like(real, count, seed=0)):
            stored[number * CHUNK : number * CHUNK + len(made)] = made
            on_chunk()
    stored.flush()
    growing.replace(file)


class OnDisk:
    """A few dimensions in memory, the vectors themselves in their file."""

    def __init__(self, stored: Half, dimensions: int, factory: str) -> None:
        """Build it; `factory` is FAISS's name of the index in so many dimensions."""
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

    def search(self, queries: Vectors, effort: int) -> Positions:
        """Positions of the ten nearest to each query among `effort` candidates, [Q, 10]."""
        _, proposed = self._coarse.search(self._project(queries), effort)
        found = []
        for query, candidates in zip(queries, proposed, strict=True):
            rows = np.sort(candidates[candidates >= 0])  # FAISS pads with -1
            cosines = torch.from_numpy(self._stored[rows]).float() @ torch.from_numpy(query)
            found.append(rows[cosines.topk(NEAREST).indices.numpy()])
        return np.stack(found)

    def _project(self, vectors: Half | Vectors) -> Vectors:
        projected: Vectors = (torch.from_numpy(_unit(vectors)) @ self._directions).numpy()
        return projected


@dataclass
class Row:
    """One index of the million at one effort."""

    name: str
    effort: int
    recall: float
    build_seconds: float
    resident_bytes: int
    milliseconds: list[float] = field(default_factory=list)


def measure(
    stored: Half, coarse: tuple[int, str], queries: Vectors, nearest: Positions, rounds: int
) -> Row:
    """Build an index, choose the first effort that finds enough, and time single queries."""
    before, started = _held(), time.perf_counter()
    built = OnDisk(stored, *coarse)
    seconds = time.perf_counter() - started
    gc.collect()
    name = "SVD{},{}, refined from disk".format(*coarse)
    row = Row(name, 0, 0.0, seconds, _held() - before)
    for row.effort in EFFORTS:
        row.recall = recall(built.search(queries, row.effort), nearest)
        print_line(f"{row.name}, {row.effort} candidates: recall {row.recall:.4f}")
        if row.recall >= TARGET_RECALL:
            break
    for _ in range(rounds):
        times = []
        for query in queries[:SINGLES]:
            started = time.perf_counter()
            built.search(query[None], row.effort)
            times.append((time.perf_counter() - started) * 1000)
        row.milliseconds.append(float(np.median(times)))
    return row


def report(real: Path, cache: Path, rounds: int, count: int = COUNT) -> str:
    """Make the vectors if they are not there yet, measure, and tell as Markdown."""
    source: Half = np.load(real, mmap_mode="c")
    file = cache / f"{real.stem}-synthetic-{count}.npy"
    if not file.exists():
        write(source, count, file)
    stored: Half = np.load(file, mmap_mode="r")
    queries = np.concatenate(list(like(source, QUERIES, seed=1)))
    started = time.perf_counter()
    cosines, nearest = exact_nearest(file, count, queries)
    scan = time.perf_counter() - started
    few, _ = exact_nearest(file, len(source), queries)
    own, _ = exact_nearest(real, len(source), _unit(source[:: len(source) // QUERIES]))
    rows = [measure(stored, coarse, queries, nearest, rounds) for coarse in COARSE]
    text = METHOD.format(
        count=count,
        real=len(source),
        mixed=MIXED,
        gigabytes=stored.nbytes / 1e9,
        queries=QUERIES,
        tenth=cosines[:, -1].mean(),
        tenth_of_few=few[:, -1].mean(),
        tenth_of_own=own[:, -1].mean(),
        scan=scan,
        fp32=stored.nbytes * 2 / 1e9,
        enough=TARGET_RECALL,
        probes=PROBES,
    )
    return wrapped(text) + "\n\n" + table(HEADER, map(_cells, rows))


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.effort:,}",
        f"{row.recall:.4f}",
        spread(row.milliseconds, 1),
        f"{row.build_seconds:,.0f}",
        f"{row.resident_bytes / 1e6:,.0f}",
    )


def _unit(stored: Half | Vectors) -> Vectors:
    return normalise(np.asarray(stored, dtype=np.float32))


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _held() -> int:
    """Memory of this process that no file stands behind, in bytes."""
    return memory_bytes(os.getpid(), "RssAnon")

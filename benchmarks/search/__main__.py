"""Compares indexes of conv2 vectors: flat, the bundle's own, HNSW and ScaNN.

    python -m benchmarks.search --data cifar10-jpeg.tar.gz
    python -m benchmarks.search --data cifar10-jpeg.tar.gz --size 7500 --index flat --index ours

Writes the section "Search" of `docs/performance.md`. Every index has its own process, and is
measured once a round. The vectors are cached, so that only the first run embeds the images.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import numpy as np
import typer

from benchmarks.harness.environment import PEERS, versions
from benchmarks.harness.recall import recall
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from benchmarks.harness.worker import Worker
from benchmarks.search import million
from benchmarks.search.index_worker import INDEXES, BuildReport, SearchRequest, SearchTimes
from benchmarks.search.vectors import QUERIES, CachedVectors, embed_or_load, exact_nearest
from service.settings import default_bundle
from training.bundle import Positions, load
from training.workflows.progress import print_line

SIZES: Final = (1_000, 7_500, 60_000)
TARGET_RECALL: Final = 0.998
"""The recall at 10 that each index is tuned to, if it can reach it."""
SINGLES: Final = 50
BATCHED: Final = 128
BATCH: Final = 32
"""Queries of each round: one at a time, in batches, and the size of a batch."""
PEER_INDEXES: Final = ("scann",)
"""Indexes that need the peers' environment."""
METHOD: Final = """
conv2 vectors (8192 long) of real images, normalised and rounded to fp16 for all. The first 7,500
are the test split, as in a bundle; 60,000 are all images of the data set. There are {queries:,}
queries that are not in the gallery; at 60,000 those are mirrored images. Recall at 10 is against
the exact ten nearest. Every index has a process of its own and all cores. Each has the fastest
search parameter with a recall of at least {target}, or else the slowest. In each of {rounds} rounds
each index searches for {singles} queries one at a time, and for {batched} in batches of {batch}.
Memory is what building left in the process. Goals for ours at 7,500: one query 25 times as fast as
flat, a batch of 32 at least 4 times, at a recall of at least {target}.

Flat and HNSW (32 links) are FAISS's, fp32; ScaNN quantises, and refines with fp32. Ours is what
`training/index/cosine.py` builds.
"""


@dataclass
class MeasuredIndex:
    """One index of one size, with its measurements so far, in milliseconds per query."""

    name: str
    worker: Worker
    built: BuildReport
    search_parameter: int = 0
    recall: float = 0.0
    single: list[float] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)


class Comparison:
    """Measures the indexes of one size; files go to a scratch folder."""

    def __init__(self, source: CachedVectors, count: int, folder: Path) -> None:
        queries = source.queries(count)
        _, self._nearest = exact_nearest(source.vectors, count, queries)
        self._source, self._count = source, count
        self._found = folder / "found.npy"
        self._all, self._batched, self._singles = (
            folder / f"{name}.npy" for name in ("all", "batched", "singles")
        )
        np.save(self._all, queries)
        np.save(self._batched, queries[:BATCHED])
        np.save(self._singles, queries[:SINGLES])

    def build(self, name: str) -> MeasuredIndex:
        """Build an index in a worker process, and choose its search parameter."""
        print_line(f"building {name} of {self._count:,}")
        python = PEERS / "python" if name in PEER_INDEXES else Path(sys.executable)
        vectors = self._source.vectors.resolve()
        worker = Worker(
            [python, "-m", "benchmarks.search.index_worker", name, vectors, str(self._count)]
        )
        index = MeasuredIndex(name, worker, worker.receive(BuildReport))
        for parameter in index.built.search_parameters:
            index.search_parameter, index.recall = parameter, self._recall(worker, parameter)
            if index.recall >= TARGET_RECALL:
                break
        return index

    def run_round(self, indexes: Sequence[MeasuredIndex]) -> None:
        """Measure each index once, with single queries and with batches."""
        for one in indexes:
            parameter = one.search_parameter
            single = SearchRequest(queries=self._singles, batch=1, search_parameter=parameter)
            batched = SearchRequest(queries=self._batched, batch=BATCH, search_parameter=parameter)
            one.single.append(_median(one.worker.call(single, SearchTimes)))
            one.batched.append(_median(one.worker.call(batched, SearchTimes)))

    def _recall(self, worker: Worker, parameter: int) -> float:
        request = SearchRequest(
            queries=self._all, batch=BATCH, search_parameter=parameter, found=self._found
        )
        worker.call(request, SearchTimes)
        found: Positions = np.load(self._found)
        return recall(found, self._nearest[: len(found)])


def _median(times: SearchTimes) -> float:
    return float(np.median(times.milliseconds))


def compare(
    source: CachedVectors, count: int, names: Sequence[str], rounds: int
) -> list[MeasuredIndex]:
    """Build and measure indexes of the first `count` vectors."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        comparison = Comparison(source, count, Path(folder))
        indexes: list[MeasuredIndex] = []
        for name in reversed(names):  # ScaNN first: its build needs the most memory
            indexes.insert(0, comparison.build(name))
            stack.enter_context(indexes[0].worker)
        for number in range(rounds):
            print_line(f"{count:,} vectors, round {number + 1} of {rounds}")
            first = number % len(indexes)
            comparison.run_round(indexes[first:] + indexes[:first])
    return indexes


def rows(count: int, indexes: Sequence[MeasuredIndex]) -> list[tuple[str, ...]]:
    """Format the rows of the table, with the speed as a multiple of flat in the same round."""
    flat = next((one for one in indexes if one.name == "flat"), None)
    return [
        (
            f"{count:,}",
            _name(one),
            f"{one.recall:.4f}",
            median_range(one.single, 2),
            _times_flat(flat.single, one.single) if flat else "",
            median_range(one.batched, 2),
            _times_flat(flat.batched, one.batched) if flat else "",
            f"{one.built.seconds:,.1f}",
            f"{one.built.resident_bytes / 1e6:,.0f}",
        )
        for one in indexes
    ]


def _name(one: MeasuredIndex) -> str:
    parameter = INDEXES[one.name].parameter_name
    return f"{one.name}, {parameter} {one.search_parameter}" if parameter else one.name


def _times_flat(flat: Sequence[float], one: Sequence[float]) -> str:
    return median_range([a / b for a, b in zip(flat, one, strict=True)], 1)


HEADER: Final = (
    "vectors", "index", "recall at 10", "one query, ms", "times flat",
    f"batch of {BATCH}, ms per query", "times flat", "build, s", "memory, MB",
)  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(help="Image folder, or an archive of one.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Folder of the bundle that embeds. Default: that of the service."),
    ] = None,
    sizes: Annotated[
        list[int] | None, typer.Option("--size", help="Vectors; repeat for several sizes.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--index", help="Index; repeat for several. Default: all.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Measurements of each index.")] = 5,
    cache: Annotated[Path, typer.Option(help="Folder of cached vectors.")] = Path(
        "build/benchmarks"
    ),
    synthetic: Annotated[
        bool,
        typer.Option("--million", help="Only a million synthetic vectors: half an hour."),
    ] = False,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure the indexes, and write the section."""
    chosen = names or list(INDEXES)
    peers = [one for one in PEER_INDEXES if one in chosen]
    peer_versions = versions(peers) if peers else []
    source = embed_or_load(data, load(bundle or default_bundle()), cache)
    if synthetic:
        provenance = describe_run(f"python -m benchmarks.search --data {data.name} --million")
        body = million.measure_all(source.vectors, cache, rounds)
        write_section("Search in a million", f"{provenance}\n\n{body}", output)
        return
    available = len(np.load(source.vectors, mmap_mode="r"))
    lines = [
        row
        for count in sizes or SIZES
        if count <= available
        for row in rows(count, compare(source, count, chosen, rounds))
    ]
    provenance = describe_run(f"python -m benchmarks.search --data {data.name}", peer_versions)
    method = METHOD.format(
        queries=QUERIES,
        target=TARGET_RECALL,
        rounds=rounds,
        singles=SINGLES,
        batched=BATCHED,
        batch=BATCH,
    )
    body = "\n\n".join((provenance, wrap(method), markdown_table(HEADER, lines, left=2)))
    write_section("Search", body, output)


if __name__ == "__main__":
    typer.run(main)

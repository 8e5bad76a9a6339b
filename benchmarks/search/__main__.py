"""Searching conv2 vectors: flat, ours, and the graphs and quantisers of others.

    python -m benchmarks.search --data cifar10-jpeg.tar.gz
    python -m benchmarks.search --data cifar10-jpeg.tar.gz --size 7500 --index flat --index ours

Writes the section "Search" of `docs/performance.md`. Every index has a process of its own, and they
take turns in every round. The vectors are kept, so that only the first run embeds the images.
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
from benchmarks.harness.report import PERFORMANCE, spread, table, where, wrapped, write_section
from benchmarks.harness.worker import Worker
from benchmarks.search import million
from benchmarks.search.index_worker import INDEXES, Built, Search, Timed
from benchmarks.search.vectors import QUERIES, Embedded, embedded, exact_nearest
from service.settings import default_bundle
from training.bundle import Positions, load
from training.workflows.progress import print_line

SIZES: Final = (1_000, 7_500, 60_000)
TARGET_RECALL: Final = 0.998
"""The recall at 10 that each index is set to reach, where it can."""
SINGLES: Final = 50
BATCHED: Final = 128
BATCH: Final = 32
"""Queries asked in a round: one at a time, and in batches."""
PEER_INDEXES: Final = ("scann",)
"""Those that stand in the peers' environment."""
METHOD: Final = """
conv2 vectors (8192 long) of real images, at length 1 and rounded to fp16 for all. The first 7,500
are the test split, as in a bundle; 60,000 are all images of the data set. {queries:,} queries that
are not in the gallery; at 60,000 those are mirrored images. Recall at 10 is against the exact ten
nearest. Every index has a process of its own and all cores, and is set to the fastest effort at
which it reaches a recall of {enough}, or else to its surest. In each of {rounds} rounds each one is
asked {singles} queries one at a time and {batched} in batches of {batch}. Memory is what building
left in the process. Goals for ours at 7,500: one query 25 times as fast as flat, a batch of 32 at
least 4 times, at a recall of at least {enough}.

Flat and HNSW (32 links) are FAISS's, fp32; ScaNN quantises, and refines with fp32. Ours is what
`training/index.py` builds.
"""


@dataclass
class Candidate:
    """One index of so many vectors, and what has been found of it so far."""

    name: str
    worker: Worker
    built: Built
    effort: int = 0
    recall: float = 0.0
    single: list[float] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)


class Trial:
    """The indexes of one gallery, taking turns; in a scratch folder."""

    def __init__(self, source: Embedded, count: int, folder: Path) -> None:
        queries = source.queries(count)
        _, self._nearest = exact_nearest(source.vectors, count, queries)
        self._source, self._count = source, count
        self._found = folder / "found.npy"
        self._all, self._some, self._few = (folder / f"{n}.npy" for n in ("all", "some", "few"))
        np.save(self._all, queries)
        np.save(self._some, queries[:BATCHED])
        np.save(self._few, queries[:SINGLES])

    def start(self, name: str) -> Candidate:
        """Build it, and choose its effort."""
        print_line(f"building {name} of {self._count:,}")
        python = PEERS / "python" if name in PEER_INDEXES else Path(sys.executable)
        vectors = self._source.vectors.resolve()
        worker = Worker(
            [python, "-m", "benchmarks.search.index_worker", name, vectors, str(self._count)]
        )
        candidate = Candidate(name, worker, worker.receive(Built))
        for effort in candidate.built.efforts:
            candidate.effort, candidate.recall = effort, self._recall(worker, effort)
            if candidate.recall >= TARGET_RECALL:
                break
        return candidate

    def round(self, candidates: Sequence[Candidate]) -> None:
        """Each of them once, one query at a time and in batches."""
        for one in candidates:
            single = Search(queries=self._few, batch=1, effort=one.effort)
            batched = Search(queries=self._some, batch=BATCH, effort=one.effort)
            one.single.append(_median(one.worker.ask(single, Timed)))
            one.batched.append(_median(one.worker.ask(batched, Timed)))

    def _recall(self, worker: Worker, effort: int) -> float:
        search = Search(queries=self._all, batch=BATCH, effort=effort, found=self._found)
        worker.ask(search, Timed)
        found: Positions = np.load(self._found)
        return recall(found, self._nearest[: len(found)])


def _median(timed: Timed) -> float:
    return float(np.median(timed.milliseconds))


def compare(source: Embedded, count: int, names: Sequence[str], rounds: int) -> list[Candidate]:
    """All the indexes of the first `count` vectors."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        trial = Trial(source, count, Path(folder))
        candidates: list[Candidate] = []
        for name in reversed(names):  # ScaNN first: it needs most room while it is built
            candidates.insert(0, trial.start(name))
            stack.enter_context(candidates[0].worker)
        for number in range(rounds):
            print_line(f"{count:,} vectors, round {number + 1} of {rounds}")
            first = number % len(candidates)
            trial.round(candidates[first:] + candidates[:first])
    return candidates


def rows(count: int, candidates: Sequence[Candidate]) -> list[tuple[str, ...]]:
    """Lines of the table: times, and how many times as fast as flat in the same round."""
    flat = next((one for one in candidates if one.name == "flat"), None)
    return [
        (
            f"{count:,}",
            one.name + (f", effort {one.effort}" if one.effort else ""),
            f"{one.recall:.4f}",
            spread(one.single, 2),
            _times(flat.single, one.single) if flat else "",
            spread(one.batched, 2),
            _times(flat.batched, one.batched) if flat else "",
            f"{one.built.seconds:,.1f}",
            f"{one.built.resident_bytes / 1e6:,.0f}",
        )
        for one in candidates
    ]


def _times(flat: Sequence[float], one: Sequence[float]) -> str:
    return spread([a / b for a, b in zip(flat, one, strict=True)], 1)


HEADER: Final = (
    "vectors", "index", "recall at 10", "one query, ms", "times flat",
    f"batch of {BATCH}, ms a query", "times flat", "build, s", "memory, MB",
)  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(help="Image folder, or an archive of one.")],
    bundle: Annotated[Path | None, typer.Option(help="Whose network embeds.")] = None,
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Vectors.")] = None,
    names: Annotated[list[str] | None, typer.Option("--index", help="Of all.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each index.")] = 5,
    cache: Annotated[Path, typer.Option(help="Where vectors are kept.")] = Path("build/benchmarks"),
    synthetic: Annotated[
        bool, typer.Option("--million", help="A million synthetic vectors alone: half an hour.")
    ] = False,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure, and write the section."""
    wanted = names or list(INDEXES)
    peers = [one for one in PEER_INDEXES if one in wanted]
    about = versions(peers) if peers else []
    source = embedded(data, load(bundle or default_bundle()), cache)
    if synthetic:
        provenance = where(f"python -m benchmarks.search --data {data.name} --million")
        told = million.report(source.vectors, cache, rounds)
        write_section("Search in a million", f"{provenance}\n\n{told}", output)
        return
    there = len(np.load(source.vectors, mmap_mode="r"))
    found = [
        row
        for count in sizes or SIZES
        if count <= there
        for row in rows(count, compare(source, count, wanted, rounds))
    ]
    provenance = where(f"python -m benchmarks.search --data {data.name}", about)
    method = METHOD.format(
        queries=QUERIES,
        enough=TARGET_RECALL,
        rounds=rounds,
        singles=SINGLES,
        batched=BATCHED,
        batch=BATCH,
    )
    body = "\n\n".join((provenance, wrapped(method), table(HEADER, found, left=2)))
    write_section("Search", body, output)


if __name__ == "__main__":
    typer.run(main)

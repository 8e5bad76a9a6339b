"""What one machine holds: memory and latency of the index by the size of the gallery.

    python -m benchmarks.search.capacity

Prints the table "Capacity of one machine" of docs/performance.md. The vectors are drawn, not
embedded, because neither memory nor time depends on their values. Recall does: `benchmarks.search`
measures it. Each size has a process of its own.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from training.index.cosine import CosineIndex, Fp16Vectors, Vectors, from_fp16
from training.index.projection import PROJECTED_DIMENSIONS, Projection

SIZES: Final = (1_000, 7_500, 60_000)
DIMENSION: Final = 8192
ROWS: Final = 2_000
"""Vectors drawn at once."""
PAGE: Final = 4096
HEADER: Final = "| images | memory | one query | one exact query |\n| --- | --- | --- | --- |"


def drawn(count: int) -> Fp16Vectors:
    """Unit vectors, fp16 [count, 8192]."""
    random = np.random.default_rng(0)
    halves: Fp16Vectors = np.empty((count, DIMENSION), np.float16)
    for start in range(0, count, ROWS):
        some = random.standard_normal((min(ROWS, count - start), DIMENSION), np.float32)
        halves[start : start + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return halves


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def milliseconds(index: CosineIndex, queries: Vectors, *, exact: bool) -> float:
    """Median time of single queries for the ten nearest."""
    taken = []
    for query in queries:
        began = time.perf_counter()
        index.search(query[None], 10, exact=exact)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def measure(count: int) -> dict[str, float]:
    """Build an index of so many vectors, and see what it takes."""
    random = np.random.default_rng(1)
    directions = np.linalg.qr(random.standard_normal((DIMENSION, PROJECTED_DIMENSIONS)))[0].T
    queries = random.standard_normal((50, DIMENSION)).astype(np.float32)
    before = resident()
    halves = drawn(count)
    index = from_fp16(halves, Projection.from_directions(directions.astype(np.float32)))
    del halves
    index.search(queries[:1], 10)
    return {
        "memory": resident() - before,
        "quick": milliseconds(index, queries, exact=False),
        "exact": milliseconds(index, queries[:10], exact=True),
    }


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Vectors.")] = None,
    one: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure, and print a row for each size."""
    if one is not None:
        typer.echo(json.dumps(measure(one)))
        return
    typer.echo(HEADER)
    for count in sizes or SIZES:
        done = subprocess.run(  # noqa: S603  this very file
            [sys.executable, "-m", "benchmarks.search.capacity", "--one", str(count)],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        typer.echo(
            f"| {count:,} | {found['memory'] / 1e6:,.0f} MB | {found['quick']:.2f} ms "
            f"| {found['exact']:.1f} ms |"
        )


if __name__ == "__main__":
    typer.run(main)

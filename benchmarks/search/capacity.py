"""Measures what one machine can hold: memory and latency of the index by the size of the gallery.

    python -m benchmarks.search.capacity

Prints the table "Capacity of one machine" of `docs/performance.md`. The vectors are random, because
neither memory nor time depends on their values; recall does, and `benchmarks.search` measures it.
Each size has its own process.
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
PAGE_BYTES: Final = 4096
HEADER: Final = "| images | memory | one query | one exact query |\n| --- | --- | --- | --- |"


def random_vectors(count: int) -> Fp16Vectors:
    """Draw unit vectors, fp16 [count, 8192]."""
    random = np.random.default_rng(0)
    vectors: Fp16Vectors = np.empty((count, DIMENSION), np.float16)
    for start in range(0, count, ROWS):
        chunk = random.standard_normal((min(ROWS, count - start), DIMENSION), np.float32)
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
        vectors[start : start + len(chunk)] = chunk
    return vectors


def resident_bytes() -> int:
    """Read the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def median_ms(index: CosineIndex, queries: Vectors, *, exact: bool) -> float:
    """Measure the median time of single queries for the ten nearest, in milliseconds."""
    times = []
    for query in queries:
        started = time.perf_counter()
        index.search(query[None], 10, exact=exact)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def measure(count: int) -> dict[str, float]:
    """Build an index of `count` vectors, and measure its memory and latency."""
    random = np.random.default_rng(1)
    directions = np.linalg.qr(random.standard_normal((DIMENSION, PROJECTED_DIMENSIONS)))[0].T
    queries = random.standard_normal((50, DIMENSION)).astype(np.float32)
    before = resident_bytes()
    vectors = random_vectors(count)
    index = from_fp16(vectors, Projection.from_directions(directions.astype(np.float32)))
    del vectors
    index.search(queries[:1], 10)
    return {
        "memory": resident_bytes() - before,
        "approximate": median_ms(index, queries, exact=False),
        "exact": median_ms(index, queries[:10], exact=True),
    }


def main(
    sizes: Annotated[
        list[int] | None, typer.Option("--size", help="Vectors; repeat for several sizes.")
    ] = None,
    one: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure each size, and print a row for it."""
    if one is not None:
        typer.echo(json.dumps(measure(one)))
        return
    typer.echo(HEADER)
    for count in sizes or SIZES:
        done = subprocess.run(  # noqa: S603 - this module
            [sys.executable, "-m", "benchmarks.search.capacity", "--one", str(count)],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        typer.echo(
            f"| {count:,} | {found['memory'] / 1e6:,.0f} MB | {found['approximate']:.2f} ms "
            f"| {found['exact']:.1f} ms |"
        )


if __name__ == "__main__":
    typer.run(main)

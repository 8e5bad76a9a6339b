"""Measures the start of the service: seconds until `/readyz` has status 200, and resident memory.

    python -m benchmarks.serving.startup
    python -m benchmarks.serving.startup --bundle starter --bundle bundles/current --rounds 3

Writes the section "Start and memory" of `docs/performance.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.harness.load_generator import open_loop
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from benchmarks.harness.workload import Query, build_queries, wrong_responses
from benchmarks.serving.systems import KINDRED
from service.settings import BUILT, STARTER
from training.bundle import Bundle, load
from training.workflows.progress import print_line

REQUESTS: Final = 1_000
CONNECTIONS: Final = 32
METHOD: Final = """
The service is started {rounds} times on each bundle, after one start that does not count, so that
its files are in the page cache. *Ready* is when `/readyz` first answers 200: bundle verified,
network warm. Resident memory (RSS, with mapped libraries) is read then, and again after
{requests:,} requests for the class and conv2 top 10 over {connections} connections. Goals: ready in
2.5 s, and at most 450 MB with 7,500 images.
"""


@dataclass(frozen=True)
class StartupTiming:
    """One start: seconds until ready, resident bytes before and after requests, wrong responses."""

    seconds: float
    ready_bytes: int
    later_bytes: int
    errors: int


def measure_start(bundle: Path, queries: Sequence[Query]) -> StartupTiming:
    """Start the service, send the requests, and stop it.

    Raises:
        ServerError: the service does not start.

    """
    with KINDRED.start(bundle, "conv2", "bundle") as server:
        ready_bytes = server.resident_bytes
        requests = [KINDRED.request(server.address, "conv2", one.png) for one in queries]
        found = open_loop(server.address, requests, CONNECTIONS, rate=REQUESTS / 2, seconds=2)
        errors = len(wrong_responses(found.responses, queries, "conv2"))
        return StartupTiming(server.startup_seconds, ready_bytes, server.resident_bytes, errors)


def row(opened: Bundle, starts: Sequence[StartupTiming]) -> tuple[str, ...]:
    """Format a row of the table."""
    return (
        opened.manifest.name,
        f"{len(opened.gallery):,}",
        median_range([one.seconds for one in starts], 1),
        median_range([one.ready_bytes / 1e6 for one in starts]),
        median_range([one.later_bytes / 1e6 for one in starts]),
        str(sum(one.errors for one in starts)),
    )


def main(
    bundles: Annotated[
        list[Path] | None,
        typer.Option("--bundle", help="Folder; repeat for several. Default: all that exist."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Starts of each bundle that count.")] = 5,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure the starts on each bundle, and write the section."""
    provenance = describe_run(f"python -m benchmarks.serving.startup --rounds {rounds}")
    rows = []
    for path in bundles or [folder for folder in (STARTER, BUILT) if folder.exists()]:
        opened = load(path)
        queries = build_queries(opened)
        starts = []
        for number in range(rounds + 1):
            starts.append(measure_start(path.resolve(), queries))
            print_line(f"{path}, start {number} of {rounds}: {starts[-1].seconds:.1f} s")
        rows.append(row(opened, starts[1:]))
    method = METHOD.format(rounds=rounds, requests=REQUESTS, connections=CONNECTIONS)
    later = f"after {REQUESTS:,} requests, MB"
    header = ("network", "images", "ready, s", "resident, MB", later, "errors")
    body = "\n\n".join((provenance, wrap(method), markdown_table(header, rows)))
    write_section("Start and memory", body, output)


if __name__ == "__main__":
    typer.run(main)

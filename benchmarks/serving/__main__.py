"""Compares the service with LitServe, BentoML and FastAPI: same network, gallery and images.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving --bundle bundles/current --rounds 1 --seconds 1

Writes the section "Serving" of `docs/performance.md`. The peers are in `benchmarks/peers/`. `make
bench` installs them in their own environment from `benchmarks/peers.lock`.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.harness.environment import versions
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from benchmarks.harness.workload import Task, build_queries
from benchmarks.peers.model import Index
from benchmarks.serving.rounds import OFFERED, Loop, Measurement, Results, Scenario, run
from benchmarks.serving.systems import KINDRED, PEER_SYSTEMS
from service.settings import default_bundle
from training.bundle import load

CONNECTIONS: Final = (1, 8, 32, 128)
PACKAGES: Final = ("litserve", "bentoml")
SCENARIOS: Final[tuple[tuple[Task, Index, tuple[Loop, ...]], ...]] = (
    ("class", "flat", ("closed", "open", "own")),
    ("conv2", "flat", ("closed", "open", "own")),
    ("conv2", "bundle", ("closed",)),
)
TITLES: Final = {
    ("class", "flat"): "Class only",
    ("conv2", "flat"): "Class and conv2 top 10, the peers with FAISS's flat index",
    ("conv2", "bundle"): "Class and conv2 top 10, the peers with the bundle's own index",
}
METHOD: Final = """
All four servers of a scenario run on this machine. All but the one that is measured are stopped
(SIGSTOP). At each number of connections, from few to many, every server is measured once a round;
each round begins with another server. One load generator sends the requests over connections that
stay open. The requests are made beforehand: the same {images} images of {low:.1f} to {high:.1f} KB
(PNG, 32 x 32) in turn. **Every response is checked**: status 200, the right class, and at least 9
of the 10 exact nearest. The generator shares the cores with the servers, and uses up to
{generator:.2f} of one.

*Closed*: each connection sends its next request when it has its response; {seconds:g} s count,
after {warmup:g} s of warm-up, in each of {rounds} rounds. *Open*: requests fall due at random
(Poisson), for all systems at {offered:.0%} of the best peer's closed-loop rate in that round. A
second open loop has {offered:.0%} of ours. Latency counts from when a request fell due.

Ours runs with its defaults. The peers run the bundle's network in torch at fp32, channels-last,
with the same decoding. FastAPI has its thread pool with one torch thread in each. LitServe and
BentoML have a worker with every core and batches of up to 32. LitServe has a window of 5 ms and its
fast queue; BentoML uses what its adaptive batching learns. See `benchmarks/peers/`.
"""
GOALS: Final = """
**Ours to the best peer**, closed loop. Goals at 32 connections: 3.5 times its requests/s for the
class (4.5 with AMX), 8 times for the class and conv2 top 10 if the peers have a flat index, and 2.5
times if they have ours. Goal at one connection: at most 0.35 of its median latency. *Event loop* is
the CPU time of our event loop's thread for each request; goal at 32 connections: 0.25 ms for the
class, 0.30 ms with the conv2 top 10.
"""
ROOFLINE: Final = """
**Share of the roofline**: the throughput through HTTP, divided by that of the service's own network
and search alone. These run in a process of their own with the same threads. Batches have the same
size, or one image from every connection (64 at most). Goal: 0.7, with AMX 0.5.
"""
LOOPS: Final[dict[Loop, str]] = {"closed": "closed", "open": "open", "own": "open, its own"}


def ratios(
    results: Results,
    connections: int,
    figure: Callable[[Measurement], float],
    best: Callable[..., float],
) -> list[float]:
    """Compute the ratio of kindred to the best peer in each round of the closed loop."""
    ours, *peers = (
        [figure(one) for one in results.measurements[system.name, "closed", connections]]
        for system in (KINDRED, *PEER_SYSTEMS)
    )
    rounds = ((mine, best(theirs)) for mine, *theirs in zip(ours, *peers, strict=True))
    return [mine / peer if peer else math.inf for mine, peer in rounds]


def ratio_table(all_results: Sequence[Results]) -> str:
    """Format the ratios to the best peer: requests/s and median latency."""
    rows = []
    for results in all_results:
        scenario = results.scenario
        for connections in scenario.connections:
            rate = ratios(results, connections, lambda one: one.rate, max)
            p50 = ratios(results, connections, lambda one: one.p50, min)
            title = TITLES[scenario.task, scenario.index]
            rows.append((title, str(connections), median_range(rate, 2), median_range(p50, 2)))
    header = ("", "connections", "requests/s, times the best peer", "p50, of the best peer's")
    return markdown_table(header, rows)


def measurement_table(results: Results) -> str:
    """Format the measurements of every system at every load."""
    rows = []
    for loop, title in LOOPS.items():
        for connections in results.scenario.connections:
            for system in (KINDRED, *PEER_SYSTEMS):
                found = results.measurements.get((system.name, loop, connections))
                if found:
                    rows.append((title, str(connections), system.name, *_figures(found)))
    header = (
        "loop", "connections", "", "offered/s", "answered/s", "p50, ms", "p95", "p99",
        "event loop, ms", "wrong or none",
    )  # fmt: skip
    return markdown_table(header, rows, left=3)


def _figures(found: Sequence[Measurement]) -> Iterator[str]:
    offered = [one.offered for one in found if one.offered is not None]
    yield f"{statistics.median(offered):,.0f}" if offered else ""
    yield median_range([one.rate for one in found])
    for percentile in ("p50", "p95", "p99"):
        yield median_range([getattr(one, percentile) for one in found], 1)
    loop_ms = [one.loop_ms for one in found if one.loop_ms is not None]
    yield median_range(loop_ms, 3) if loop_ms else ""
    yield f"{sum(one.errors for one in found)}"


def roofline_table(all_results: Sequence[Results]) -> str:
    """Format the throughput through HTTP as a share of the roofline."""
    rows = []
    for results in all_results:
        for connections, found in results.shares.items():
            rows.append(
                (
                    results.scenario.task,
                    str(connections),
                    median_range([share.batch_size for share in found], 1),
                    median_range([share.limit for share in found]),
                    median_range([share.served / share.limit for share in found], 2),
                    median_range([share.full_limit for share in found]),
                    median_range([share.served / share.full_limit for share in found], 2),
                )
            )
    header = (
        "task", "connections", "mean batch", "limit at that batch, images/s", "share",
        "limit at a batch of all connections", "share",
    )  # fmt: skip
    return markdown_table(header, rows)


def render_section(all_results: Sequence[Results], method: str, provenance: str) -> str:
    """Render the section as Markdown."""
    parts = [
        provenance,
        wrap(method),
        wrap(GOALS),
        ratio_table(all_results),
        wrap(ROOFLINE),
        roofline_table(all_results),
    ]
    for results in all_results:
        title = TITLES[results.scenario.task, results.scenario.index]
        parts += [f"### {title}", measurement_table(results)]
    return "\n\n".join(parts)


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder. Default: that of the service.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Measurements of each server at each load.")] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds of each measurement.")] = 2.0,
    warmup: Annotated[float, typer.Option(help="Seconds before each closed loop.")] = 0.6,
    connections: Annotated[
        list[int] | None, typer.Option(help="Connections. Default: 1, 8, 32, 128.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure all systems, and write the section."""
    folder = (bundle or default_bundle()).resolve()
    queries = build_queries(load(folder))
    scenarios = [
        Scenario(task, index, loops, connections or CONNECTIONS, rounds, seconds, warmup)
        for task, index, loops in SCENARIOS
    ]
    provenance = describe_run(
        f"python -m benchmarks.serving --rounds {rounds} --seconds {seconds:g}", versions(PACKAGES)
    )
    all_results = [run(scenario, folder, queries) for scenario in scenarios]
    generator = max(
        one.generator_cores
        for results in all_results
        for found in results.measurements.values()
        for one in found
    )
    sizes = [len(one.png) / 1000 for one in queries]
    method = METHOD.format(
        images=len(queries), low=min(sizes), high=max(sizes), generator=generator,
        seconds=seconds, warmup=warmup, rounds=rounds, offered=OFFERED,
    )  # fmt: skip
    write_section("Serving", render_section(all_results, method, provenance), output)


if __name__ == "__main__":
    typer.run(main)

"""Ours against LitServe, BentoML and a plain FastAPI: same network, same gallery, same pictures.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving --bundle bundles/current --rounds 1 --seconds 1

Writes the section "Serving" of `docs/performance.md`. The peers stand in `benchmarks/peers/`, in an
environment of their own that `make bench` makes from `benchmarks/peers.lock`.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.harness.environment import versions
from benchmarks.harness.report import PERFORMANCE, spread, table, where, wrapped, write_section
from benchmarks.harness.workload import Task, queries
from benchmarks.peers.model import Index
from benchmarks.serving.contenders import KINDRED, PEER_SYSTEMS
from benchmarks.serving.rounds import OFFERED, Loop, Measurement, Results, Scenario, run
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
All four servers of a task run on this machine, and all but the one whose turn it is are held still
(SIGSTOP). At each number of connections, from few to many, every server has its turn in each round;
another begins each round. One generator asks them all, over connections that stay open, with
requests made beforehand: the same {pictures} pictures of {low:.1f} to {high:.1f} KB (PNG, 32 x 32)
in turn. **Every answer is looked at**: status 200, the right class, and at least 9 of the 10 exact
nearest. The generator shares the cores with the servers, and takes up to {generator:.2f} of one.

*Closed*: each connection asks again as soon as it is answered; {seconds:g} s count, after
{warmup:g} s of warm-up, in each of {rounds} rounds. *Open*: requests fall due at random (Poisson)
at {offered:.0%} of what the best peer did in the closed loop of that round, the same for all, and
once more at {offered:.0%} of what ours did; latency counts from when they fell due.

Ours runs as it comes. The peers run the bundle's network in torch at fp32, channels-last, with the
same decoding; FastAPI has its thread pool with one torch thread in each, LitServe and BentoML a
worker with every core and batches of up to 32 (LitServe: a window of 5 ms and its fast queue;
BentoML: what its adaptive batching learns). See `benchmarks/peers/`.
"""
GOALS: Final = """
**Ours to the best peer**, closed loop. Goals: at 32 connections 3.5 times its requests/s for the
class, 5 times for the class and conv2 top 10 beside a flat index; at one connection at most half of
its median latency.
"""
LIMIT: Final = """
**Share of the bare limit**: what comes through HTTP of what the service's own network and search do
alone, in a process of their own, with the same threads and batches of the same size; and beside
batches of an image from every connection (64 at most). Goal: 0.7.
"""
LOOPS: Final[dict[Loop, str]] = {"closed": "closed", "open": "open", "own": "open, its own"}


def ratios(
    results: Results,
    connections: int,
    figure: Callable[[Measurement], float],
    best: Callable[..., float],
) -> list[float]:
    """Ours to the best peer, in each round of the closed loop."""
    ours, *peers = (
        [figure(turn) for turn in results.turns[one.name, "closed", connections]]
        for one in (KINDRED, *PEER_SYSTEMS)
    )
    rounds = ((mine, best(theirs)) for mine, *theirs in zip(ours, *peers, strict=True))
    return [mine / peer if peer else math.inf for mine, peer in rounds]


def summary(everything: Sequence[Results]) -> str:
    """Ours to the best peer: requests/s, and the median latency."""
    rows = []
    for results in everything:
        scenario = results.scenario
        for connections in scenario.connections:
            rate = ratios(results, connections, lambda turn: turn.rate, max)
            p50 = ratios(results, connections, lambda turn: turn.p50, min)
            title = TITLES[scenario.task, scenario.index]
            rows.append((title, str(connections), spread(rate, 2), spread(p50, 2)))
    header = ("", "connections", "requests/s, times the best peer", "p50, of the best peer's")
    return table(header, rows)


def turns(results: Results) -> str:
    """Every server at every load."""
    rows = []
    for loop, title in LOOPS.items():
        for connections in results.scenario.connections:
            for one in (KINDRED, *PEER_SYSTEMS):
                found = results.turns.get((one.name, loop, connections))
                if found:
                    rows.append((title, str(connections), one.name, *_figures(found)))
    header = (
        "loop", "connections", "", "offered/s", "answered/s", "p50, ms", "p95", "p99",
        "wrong or none",
    )  # fmt: skip
    return table(header, rows, left=3)


def _figures(found: Sequence[Measurement]) -> Iterator[str]:
    offered = [turn.offered for turn in found if turn.offered is not None]
    yield f"{statistics.median(offered):,.0f}" if offered else ""
    yield spread([turn.rate for turn in found])
    for percentile in ("p50", "p95", "p99"):
        yield spread([getattr(turn, percentile) for turn in found], 1)
    yield f"{sum(turn.errors for turn in found)}"


def shares(everything: Sequence[Results]) -> str:
    """What comes through HTTP of what the network and the search do alone."""
    rows = []
    for results in everything:
        for connections, found in results.shares.items():
            rows.append(
                (
                    results.scenario.task,
                    str(connections),
                    spread([share.batch for share in found], 1),
                    spread([share.same for share in found]),
                    spread([share.served / share.same for share in found], 2),
                    spread([share.full for share in found]),
                    spread([share.served / share.full for share in found], 2),
                )
            )
    header = (
        "task", "connections", "mean batch", "limit at that batch, images/s", "share",
        "limit at a batch of all connections", "share",
    )  # fmt: skip
    return table(header, rows)


def document(everything: Sequence[Results], method: str, provenance: str) -> str:
    """The section."""
    parts = [
        provenance,
        wrapped(method),
        wrapped(GOALS),
        summary(everything),
        wrapped(LIMIT),
        shares(everything),
    ]
    for results in everything:
        parts += [f"### {TITLES[results.scenario.task, results.scenario.index]}", turns(results)]
    return "\n\n".join(parts)


def main(
    bundle: Annotated[Path | None, typer.Option(help="Folder; as the service by default.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each server at each load.")] = 3,
    seconds: Annotated[float, typer.Option(help="Of each turn, counted.")] = 2.0,
    warmup: Annotated[float, typer.Option(help="Seconds before each closed turn.")] = 0.6,
    connections: Annotated[list[int] | None, typer.Option(help="At once.")] = None,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure, and write the section."""
    folder = (bundle or default_bundle()).resolve()
    asked = queries(load(folder))
    scenarios = [
        Scenario(task, index, loops, connections or CONNECTIONS, rounds, seconds, warmup)
        for task, index, loops in SCENARIOS
    ]
    provenance = where(
        f"python -m benchmarks.serving --rounds {rounds} --seconds {seconds:g}", versions(PACKAGES)
    )
    everything = [run(scenario, folder, asked) for scenario in scenarios]
    generator = max(
        turn.generator_cores
        for results in everything
        for found in results.turns.values()
        for turn in found
    )
    sizes = [len(one.png) / 1000 for one in asked]
    method = METHOD.format(
        pictures=len(asked), low=min(sizes), high=max(sizes), generator=generator,
        seconds=seconds, warmup=warmup, rounds=rounds, offered=OFFERED,
    )  # fmt: skip
    write_section("Serving", document(everything, method, provenance), output)


if __name__ == "__main__":
    typer.run(main)

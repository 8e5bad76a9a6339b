"""Measures all systems of a scenario at every load, in rounds, together with the roofline.

All servers are started, and all but the measured one are suspended, so that other work on the
machine affects every system equally. Every response is checked: wrong ones do not count.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import httpx

from benchmarks.harness.load_generator import Load, Response, closed_loop, open_loop
from benchmarks.harness.server_process import Server
from benchmarks.harness.worker import Worker
from benchmarks.harness.workload import Query, Task, wrong_responses
from benchmarks.peers.model import Index
from benchmarks.serving.roofline import RooflineRate, RooflineRequest, start_roofline
from benchmarks.serving.systems import KINDRED, PEER_SYSTEMS, System
from training.workflows.progress import print_line

Loop = Literal["closed", "open", "own"]
"""`open` has one rate for all systems; `own` has a share of kindred's highest rate."""

OFFERED: Final = 0.7
"""The rate of an open loop, as a share of the highest closed-loop rate of the same round."""
MAX_BATCH: Final = 64
"""Images that the service runs in one batch by default."""
WARMUP_SECONDS: Final = 3.0
"""Seconds of load on each server before the first round at a number of connections."""


class WrongResponseError(RuntimeError):
    """A server sends wrong responses or none; the message has one of them."""


@dataclass(frozen=True)
class Scenario:
    """One task: the index of the peers, the loads, and the seconds of a measurement."""

    task: Task
    index: Index
    loops: Sequence[Loop]
    connections: Sequence[int]
    rounds: int
    seconds: float
    warmup: float


@dataclass(frozen=True)
class Measurement:
    """One system under one load: right responses/s, latencies in ms, and wrong responses."""

    offered: float | None
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int
    generator_cores: float
    loop_ms: float | None = None
    """CPU milliseconds of kindred's event loop for each request; None for peers."""


@dataclass(frozen=True)
class RooflineShare:
    """One closed-loop measurement of kindred beside the roofline, in images/s.

    `batch_size` is the mean of the batches that ran. `limit` is the roofline at that size, and
    `full_limit` the roofline in batches of one image per connection.
    """

    batch_size: float
    served: float
    limit: float
    full_limit: float


@dataclass(frozen=True)
class Results:
    """All rounds: measurements by system, loop and connections; shares by connections."""

    scenario: Scenario
    measurements: dict[tuple[str, Loop, int], list[Measurement]] = field(
        default_factory=lambda: defaultdict(list)
    )
    shares: dict[int, list[RooflineShare]] = field(default_factory=lambda: defaultdict(list))


def run(scenario: Scenario, bundle: Path, queries: Sequence[Query]) -> Results:
    """Start all systems, and measure each in every round.

    Raises:
        ServerError: a system does not start.
        WrongResponseError: a system sends wrong responses while it warms up.

    """
    with ExitStack() as stack:
        servers: dict[System, Server] = {}
        for system in (KINDRED, *PEER_SYSTEMS):
            print_line(f"starting {system.name}")
            servers[system] = stack.enter_context(
                system.start(bundle, scenario.task, scenario.index)
            )
        roofline = stack.enter_context(start_roofline(bundle))
        comparison = _Comparison(scenario, servers, roofline, queries)
        for connections in sorted(scenario.connections):  # ascending: see `warm_up`
            comparison.warm_up(connections)
            for number in range(scenario.rounds):
                comparison.run_round(number, connections)
        return comparison.results


class _Comparison:
    def __init__(
        self,
        scenario: Scenario,
        servers: dict[System, Server],
        roofline: Worker,
        queries: Sequence[Query],
    ) -> None:
        self.results = Results(scenario)
        self._scenario = scenario
        self._servers = servers
        self._roofline = roofline
        self._queries = queries
        self._requests = {
            system: [system.request(server.address, scenario.task, one.png) for one in queries]
            for system, server in servers.items()
        }
        for server in servers.values():
            server.pause()

    def warm_up(self, connections: int) -> None:
        """Put load on each server, so that adaptive batching has learned its window.

        BentoML learns a longer window within seconds, but shortens it only by a twentieth every
        few seconds. So the loads ascend.
        """
        for system, server in self._servers.items():
            with _resumed(server):
                requests = self._requests[system]
                load = closed_loop(server.address, requests, connections, WARMUP_SECONDS, warmup=0)
            if not load.responses:
                raise WrongResponseError(f"{system.name} sends no responses")
            for one in self._wrong(load):
                response = f"{one.status}, {one.body[:500]!r}"
                raise WrongResponseError(f"{system.name} sends wrong responses: {response}")

    def run_round(self, number: int, connections: int) -> None:
        """Measure every system once at every load; each round begins with another system."""
        order = list(self._servers)
        first = number % len(order)
        order = order[first:] + order[:first]
        rates = {one: self._closed(one, connections).rate for one in order}
        best = max(rate for one, rate in rates.items() if one is not KINDRED)
        if "open" in self._scenario.loops:
            for system in order:
                self._open("open", system, connections, OFFERED * best)
        if "own" in self._scenario.loops:
            self._open("own", KINDRED, connections, OFFERED * rates[KINDRED])

    def _closed(self, system: System, connections: int) -> Measurement:
        server, scenario = self._servers[system], self._scenario
        requests = self._requests[system]
        with _resumed(server):
            closed_loop(server.address, requests, connections, scenario.warmup, warmup=0)
            before = _batches(server) if system is KINDRED else None
            busy = server.loop_seconds
            load = closed_loop(server.address, requests, connections, scenario.seconds, warmup=0)
            busy = server.loop_seconds - busy
            after = _batches(server) if system is KINDRED else None
        if scenario.index == "flat" and before and after and after[1] > before[1]:
            batch_size = (after[0] - before[0]) / (after[1] - before[1])
            self._compare_with_roofline(connections, batch_size, load.rate)
        loop_ms = None
        if system is KINDRED and load.responses:
            loop_ms = 1000 * busy / len(load.responses)
        return self._record("closed", system, connections, load, None, loop_ms)

    def _open(self, loop: Loop, system: System, connections: int, rate: float) -> None:
        server = self._servers[system]
        with _resumed(server):
            load = open_loop(
                server.address, self._requests[system], connections, rate, self._scenario.seconds
            )
        self._record(loop, system, connections, load, rate)

    def _compare_with_roofline(self, connections: int, batch_size: float, served: float) -> None:
        def limit(size: int) -> float:
            request = RooflineRequest(
                task=self._scenario.task, batch=size, seconds=self._scenario.seconds / 2
            )
            return self._roofline.call(request, RooflineRate).images_per_second

        at_batch, at_full = limit(max(1, round(batch_size))), limit(min(connections, MAX_BATCH))
        share = RooflineShare(batch_size, served, at_batch, at_full)
        self.results.shares[connections].append(share)

    def _record(
        self,
        loop: Loop,
        system: System,
        connections: int,
        load: Load,
        offered: float | None,
        loop_ms: float | None = None,
    ) -> Measurement:
        p50, p95, p99 = load.latencies_ms(50, 95, 99)
        errors = len(self._wrong(load))
        rate = (len(load.responses) - errors) / load.seconds
        found = Measurement(offered, rate, p50, p95, p99, errors, load.generator_cores, loop_ms)
        self.results.measurements[system.name, loop, connections].append(found)
        print_line(
            f"{self._scenario.task}, {loop}, {connections:3}: {system.name:20} "
            f"{found.rate:6.0f}/s  p50 {found.p50:6.1f} ms  p99 {found.p99:6.1f} ms"
            + (f"  loop {loop_ms:.3f} ms" if loop_ms is not None else "")
            + (f"  {found.errors} errors" if found.errors else "")
        )
        return found

    def _wrong(self, load: Load) -> list[Response]:
        return wrong_responses(load.responses, self._queries, self._scenario.task)


@contextmanager
def _resumed(server: Server) -> Iterator[None]:
    """Resume a suspended server while the block runs."""
    server.resume()
    try:
        yield
    finally:
        server.pause()


def _batches(server: Server) -> tuple[float, float]:
    """Read how many images the service has run, and in how many batches."""
    text = httpx.get(f"{server.url}/metrics").raise_for_status().text
    found = dict(re.findall(r"^kindred_batch_images_(sum|count) (\S+)", text, re.MULTILINE))
    return float(found["sum"]), float(found["count"])

"""Servers of one task taking turns at every load, and the bare limit with them.

All are started, and held still but for the one whose turn it is, so that whatever else the machine
does falls on all alike. Every answer is looked at: nobody wins by failing.
"""

import re
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from benchmarks.harness.load_generator import Answer, Load, closed_loop, open_loop
from benchmarks.harness.server_process import Server
from benchmarks.harness.worker import Worker
from benchmarks.harness.workload import Query, Task, wrong_answers
from benchmarks.peers.model import Index
from benchmarks.serving.contenders import KINDRED, PEER_SYSTEMS, System
from benchmarks.serving.roofline import RooflineRate, RooflineRequest, roofline
from training.workflows.progress import print_line

Loop = Literal["closed", "open", "own"]
"""`open` offers the same to all; `own` offers ours a share of what ours can do."""

OFFERED: Final = 0.7
"""What an open load offers, of the most that a closed load found in the same round."""
MAX_BATCH: Final = 64
"""Images that the service runs at once by default."""
WARMUP_SECONDS: Final = 3.0
"""Seconds that each server is asked at a new load before it counts."""


class WrongAnswerError(RuntimeError):
    """A server does not answer as it must; the message has what it said."""


@dataclass(frozen=True)
class Scenario:
    """One task: what the peers search with, the loads, and the seconds of a turn."""

    task: Task
    index: Index
    loops: Sequence[Loop]
    connections: Sequence[int]
    rounds: int
    seconds: float
    warmup: float


@dataclass(frozen=True)
class Measurement:
    """One server under one load: right answers/s, latency in milliseconds, how many were wrong."""

    offered: float | None
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int
    generator_cores: float


@dataclass(frozen=True)
class RooflineShare:
    """One closed turn of ours beside the bare limit, in images/s.

    `batch` is the mean size of the batches that it ran, `same` the limit at that size, and `full`
    the limit with an image from every connection in the batch.
    """

    batch: float
    served: float
    same: float
    full: float


@dataclass(frozen=True)
class Results:
    """One of each a round: turns by system, loop and connections; shares by connections."""

    scenario: Scenario
    turns: dict[tuple[str, Loop, int], list[Measurement]] = field(
        default_factory=lambda: defaultdict(list)
    )
    shares: dict[int, list[RooflineShare]] = field(default_factory=lambda: defaultdict(list))


def run(scenario: Scenario, bundle: Path, asked: Sequence[Query]) -> Results:
    """Let them all take their turns.

    Raises:
        ServerError: one of them does not start.
        WrongAnswerError: one of them does not answer as it must.

    """
    with ExitStack() as stack:
        servers: dict[System, Server] = {}
        for system in (KINDRED, *PEER_SYSTEMS):
            print_line(f"starting {system.name}")
            servers[system] = stack.enter_context(
                system.start(bundle, scenario.task, scenario.index)
            )
        comparison = _Comparison(scenario, servers, stack.enter_context(roofline(bundle)), asked)
        for connections in sorted(scenario.connections):  # up: see `warm_up`
            comparison.warm_up(connections)
            for number in range(scenario.rounds):
                comparison.round(number, connections)
        return comparison.results


class _Comparison:
    def __init__(
        self,
        scenario: Scenario,
        servers: dict[System, Server],
        roofline_worker: Worker,
        asked: Sequence[Query],
    ) -> None:
        self.results = Results(scenario)
        self._heat = scenario
        self._servers = servers
        self._roofline = roofline_worker
        self._asked = asked
        self._requests = {
            system: [system.request(server.address, scenario.task, one.png) for one in asked]
            for system, server in servers.items()
        }
        for server in servers.values():
            server.pause()

    def warm_up(self, connections: int) -> None:
        """Ask each for a while: what learns its window from the load shall have learned it.

        BentoML learns to wait longer within seconds, but to wait less again only by a twentieth
        every few seconds; so no load comes after a heavier one.
        """
        for system, server in self._servers.items():
            with _going_on(server):
                requests = self._requests[system]
                found = closed_loop(server.address, requests, connections, WARMUP_SECONDS, warmup=0)
            if not found.answers:
                raise WrongAnswerError(f"{system.name} does not answer")
            for one in self._wrong(found):
                said = f"{one.status}, {one.body[:500]!r}"
                raise WrongAnswerError(f"{system.name} does not answer as it must: {said}")

    def round(self, number: int, connections: int) -> None:
        """Every server once at every load of so many connections; another begins each round."""
        order = list(self._servers)
        first = number % len(order)
        order = order[first:] + order[:first]
        rates = {one: self._closed(one, connections).rate for one in order}
        best = max(rate for one, rate in rates.items() if one is not KINDRED)
        if "open" in self._heat.loops:
            for system in order:
                self._open("open", system, connections, OFFERED * best)
        if "own" in self._heat.loops:
            self._open("own", KINDRED, connections, OFFERED * rates[KINDRED])

    def _closed(self, system: System, connections: int) -> Measurement:
        server, scenario = self._servers[system], self._heat
        with _going_on(server):
            before = _batches(server) if system is KINDRED else None
            found = closed_loop(
                server.address,
                self._requests[system],
                connections,
                scenario.seconds,
                scenario.warmup,
            )
            after = _batches(server) if system is KINDRED else None
        if self._heat.index == "flat" and before and after and after[1] > before[1]:
            batch = (after[0] - before[0]) / (after[1] - before[1])
            self._compare(connections, batch, found.rate)
        return self._keep("closed", system, connections, found, None)

    def _open(self, loop: Loop, system: System, connections: int, rate: float) -> None:
        server = self._servers[system]
        with _going_on(server):
            found = open_loop(
                server.address, self._requests[system], connections, rate, self._heat.seconds
            )
        self._keep(loop, system, connections, found, rate)

    def _compare(self, connections: int, batch: float, served: float) -> None:
        def limit(size: int) -> float:
            roofline_worker = RooflineRequest(
                task=self._heat.task, batch=size, seconds=self._heat.seconds / 2
            )
            return self._roofline.ask(roofline_worker, RooflineRate).images_per_second

        same, full = limit(max(1, round(batch))), limit(min(connections, MAX_BATCH))
        self.results.shares[connections].append(RooflineShare(batch, served, same, full))

    def _keep(
        self, loop: Loop, system: System, connections: int, found: Load, offered: float | None
    ) -> Measurement:
        p50, p95, p99 = found.milliseconds(50, 95, 99)
        errors = len(self._wrong(found))
        rate = (len(found.answers) - errors) / found.seconds
        turn = Measurement(offered, rate, p50, p95, p99, errors, found.generator_cores)
        self.results.turns[system.name, loop, connections].append(turn)
        print_line(
            f"{self._heat.task}, {loop}, {connections:3}: {system.name:20} "
            f"{turn.rate:6.0f}/s  p50 {turn.p50:6.1f} ms  p99 {turn.p99:6.1f} ms"
            + (f"  {turn.errors} errors" if turn.errors else "")
        )
        return turn

    def _wrong(self, found: Load) -> list[Answer]:
        return wrong_answers(found.answers, self._asked, self._heat.task)


@contextmanager
def _going_on(server: Server) -> Iterator[None]:
    """Its turn."""
    server.resume()
    try:
        yield
    finally:
        server.pause()


def _batches(server: Server) -> tuple[float, float]:
    """How many images the service has run so far, and in how many batches."""
    url = f"http://{server.address.host}:{server.address.port}/metrics"
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    found = dict(re.findall(r"^kindred_batch_images_(sum|count) (\S+)", text, re.MULTILINE))
    return float(found["sum"]), float(found["count"])

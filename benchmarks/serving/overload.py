"""Measures the service under twice the load that it can serve: goodput, refusals, memory.

    make bench DATA=cifar10-jpeg.tar.gz
    python -m benchmarks.serving.overload --bundle bundles/current --rounds 1 --seconds 5

Writes the section "Overload" of `docs/performance.md`.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.harness.load_generator import Address, Load, Response, closed_loop, open_loop
from benchmarks.harness.report import (
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    wrap,
    write_section,
)
from benchmarks.harness.server_process import Server
from benchmarks.harness.workload import Query, Task, build_queries, wrong_responses
from benchmarks.serving.systems import KINDRED
from service.settings import default_bundle
from training.bundle import load
from training.workflows.progress import print_line

TASKS: Final[tuple[Task, ...]] = ("class", "conv2")
SATURATING: Final = (64, 128)
"""Connections of the closed loops; the higher goodput of the two is the best goodput."""
OVERLOAD_CONNECTIONS: Final = 1024
"""Connections of the open loop: more than may be queued and run at once, so the queue fills."""
OVERLOAD_FACTOR: Final = 2.0
"""The rate of the overload, as a multiple of the best goodput."""
SETTLING_SECONDS: Final = 2.0
"""Seconds of the overload until the queue is full, which do not count towards goodput."""
WARMUP: Final = 1.0
LIVEZ_RATE: Final = 20.0
"""Requests of `/livez` a second during the overload."""
OK, BUSY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
TITLES: Final[dict[Task, str]] = {"class": "Class only", "conv2": "Class and conv2 top 10"}

METHOD: Final = """
The service runs with its defaults. In each of {rounds} rounds, closed loops of {saturating}
connections find its highest goodput ({seconds:g} s each, after {warmup:g} s of warm-up). Then
requests fall due at random (Poisson) at {factor:g} times that rate for {overload:g} s, over
{connections} connections that stay open, without retries. Goodput counts responses with status 200,
the right class and the nearest images, after {settling:g} s, when the queue is full. Another
connection requests `/livez` {livez:g} times a second. Requests were made beforehand: {images}
images of {low:.1f} to {high:.1f} KB (PNG, 32 x 32) in turn. The generator shares the cores with the
service and has no priority, so the CPU time that it uses reduces goodput.
"""
GOALS: Final = """
Goals: goodput at least 0.90 of the best; every refusal is 429 with `Retry-After`, and there is no
other failure; memory stays flat; `/livez` answers within 100 ms.
"""


@dataclass(frozen=True)
class Round:
    """One round: goodput in requests/s, both loads, and samples of the memory in MiB."""

    best: float
    goodput: float
    overload: Load
    liveness: Load
    resident: Sequence[float]

    def with_status(self, status: HTTPStatus) -> list[Response]:
        """Return the responses of the overload that have this status."""
        return [one for one in self.overload.responses if one.status == status]


def measure(server: Server, task: Task, queries: Sequence[Query], seconds: float) -> Round:
    """Saturate the server, then overload it for twice as long."""
    address = server.address
    requests = [KINDRED.request(address, task, one.png) for one in queries]
    loops = (closed_loop(address, requests, number, seconds, WARMUP) for number in SATURATING)
    best = max(count_right(loop.responses, queries, task) / loop.seconds for loop in loops)
    duration = SETTLING_SECONDS + 2 * seconds
    with ThreadPoolExecutor(1) as pool, sampled(lambda: server.resident_bytes) as resident:
        livez = [livez_request(address)]
        liveness = pool.submit(open_loop, address, livez, 4, LIVEZ_RATE, duration)
        overload = open_loop(
            address, requests, OVERLOAD_CONNECTIONS, OVERLOAD_FACTOR * best, duration
        )
    return Round(
        best=best,
        goodput=goodput(overload, queries, task),
        overload=overload,
        liveness=liveness.result(),
        resident=[size / 2**20 for size in resident],
    )


def count_right(responses: Sequence[Response], queries: Sequence[Query], task: Task) -> int:
    """Count the responses that are right."""
    return len(responses) - len(wrong_responses(responses, queries, task))


def goodput(overload: Load, queries: Sequence[Query], task: Task) -> float:
    """Compute right responses/s between the end of the settling time and that of the load."""
    began = min(one.due for one in overload.responses)
    begins, ends = began + SETTLING_SECONDS, began + overload.seconds
    counted = [one for one in overload.responses if begins <= one.done < ends]
    return count_right(counted, queries, task) / (ends - begins)


def livez_request(address: Address) -> bytes:
    """Build the bytes of a request of `/livez`."""
    return f"GET /livez HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n\r\n".encode()


@contextmanager
def sampled(read: Callable[[], float], period: float = 0.25) -> Iterator[list[float]]:
    """Call `read` every `period` seconds while the block runs, and once at its end."""
    samples: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        samples.append(read())
        while not ended.wait(period):
            samples.append(read())
        samples.append(read())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        ended.set()
        sampler.join()


def rows(rounds: Sequence[Round]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every figure, over all rounds."""

    def each(figure: Callable[[Round], float], digits: int = 0) -> str:
        return median_range([figure(one) for one in rounds], digits)

    def latencies(select: Callable[[Round], Sequence[Response]]) -> str:
        found = [Load(tuple(select(one)), 1, 0).latencies_ms(50, 99, 100) for one in rounds]
        return "; ".join(median_range(times, 1) for times in zip(*found, strict=True))

    def refused_share(one: Round) -> float:
        return len(one.with_status(BUSY)) / len(one.overload.responses)

    yield "best goodput, requests/s", each(lambda one: one.best)
    yield (
        "offered, requests/s",
        each(lambda one: len(one.overload.responses) / one.overload.seconds),
    )
    yield "goodput then, requests/s", each(lambda one: one.goodput)
    yield "**of the best**", f"**{each(lambda one: one.goodput / one.best, 2)}**"
    yield "refused (429), share", each(refused_share, 2)
    refused = [response for one in rounds for response in one.with_status(BUSY)]
    without = sum(RETRY_AFTER.search(one.head) is None for one in refused)
    yield "of these without `Retry-After`", f"{without} of {len(refused):,}"
    others = Counter(response.status for one in rounds for response in one.overload.responses)
    del others[OK], others[BUSY]
    yield "other statuses", f"{dict(others) or 'none'}"
    yield "answered: p50; p99; max, ms", latencies(lambda one: one.with_status(OK))
    yield "refused: p50; p99; max, ms", latencies(lambda one: one.with_status(BUSY))
    yield "`/livez`: p50; p99; max, ms", latencies(lambda one: one.liveness.responses)
    failed = sum(response.status != OK for one in rounds for response in one.liveness.responses)
    yield "of these not 200", f"{failed}"
    yield "resident before, MiB", each(lambda one: one.resident[0])
    yield "most during the overload, MiB", each(lambda one: max(one.resident))
    yield "at the end, MiB", each(lambda one: one.resident[-1])
    yield "generator, cores", each(lambda one: one.overload.generator_cores, 2)


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder. Default: that of the service.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of each task.")] = 3,
    seconds: Annotated[
        float, typer.Option(help="Seconds of each closed loop; an overload takes twice as long.")
    ] = 10,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure all rounds, print the figures, and write the section."""
    folder = bundle or default_bundle()
    queries = build_queries(load(folder))
    found: dict[Task, list[Round]] = {task: [] for task in TASKS}
    command = f"python -m benchmarks.serving.overload --rounds {rounds} --seconds {seconds:g}"
    provenance = describe_run(command)
    for number in range(rounds):
        for task in TASKS:
            with KINDRED.start(folder, task, "bundle") as server:
                found[task].append(measure(server, task, queries, seconds))
            one = found[task][-1]
            print_line(
                f"round {number + 1}, {task}: {one.goodput:.0f} of {one.best:.0f} requests/s"
            )
    sizes = [len(one.png) / 1000 for one in queries]
    method = METHOD.format(
        rounds=rounds, saturating=" and ".join(map(str, SATURATING)), seconds=seconds,
        warmup=WARMUP, factor=OVERLOAD_FACTOR, connections=OVERLOAD_CONNECTIONS,
        overload=2 * seconds + SETTLING_SECONDS, settling=SETTLING_SECONDS, livez=LIVEZ_RATE,
        images=len(queries), low=min(sizes), high=max(sizes),
    )  # fmt: skip
    columns = [dict(rows(found[task])) for task in TASKS]
    lines = [(name, *(column[name] for column in columns)) for name in columns[0]]
    figures = markdown_table(("", *(TITLES[task] for task in TASKS)), lines)
    print(figures)
    section = "\n\n".join((provenance, wrap(method), wrap(GOALS), figures))
    write_section("Overload", section, output)


if __name__ == "__main__":
    typer.run(main)

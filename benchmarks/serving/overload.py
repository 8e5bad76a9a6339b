"""What is left of the service when twice as much is asked of it as it can answer.

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

from benchmarks.harness.load_generator import Address, Answer, Load, closed_loop, open_loop
from benchmarks.harness.report import PERFORMANCE, spread, table, where, wrapped, write_section
from benchmarks.harness.server_process import Server
from benchmarks.harness.workload import Query, Task, queries, wrong_answers
from benchmarks.serving.contenders import KINDRED
from service.settings import default_bundle
from training.bundle import load
from training.workflows.progress import print_line

TASKS: Final[tuple[Task, ...]] = ("class", "conv2")
SATURATING: Final = (64, 128)
"""Connections of the closed loops of which the better is the best that there is."""
CROWD: Final = 1024
"""Connections of the open loop: more than may wait and be run at once, so that the queue fills."""
TIMES: Final = 2.0
"""What is offered, of the best."""
SETTLING: Final = 2.0
"""Seconds of the overload until the queue is full, which do not count towards goodput."""
WARMUP: Final = 1.0
LIVE_RATE: Final = 20.0
"""How often a second it is asked whether it lives."""
OK, BUSY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
TITLES: Final[dict[Task, str]] = {"class": "Class only", "conv2": "Class and conv2 top 10"}

METHOD: Final = """
The service runs as it comes. In each of {rounds} rounds, closed loops of {saturating} connections
find the most that it answers ({seconds:g} s each, after {warmup:g} s of warm-up). Then requests
fall due at random (Poisson) at {times:g} times that for {overload:g} s, whatever becomes of those
before, over {crowd} connections that stay open; nobody tries again. Goodput is what is answered
with status 200, the right class and the nearest images, from the {settling:g}th second on, when the
queue has filled. Meanwhile another connection asks {live:g} times a second whether the service
lives. Requests were made beforehand: {pictures} pictures of {low:.1f} to {high:.1f} KB (PNG,
32 x 32) in turn. The generator shares the cores with the service and has no priority: what it takes
is missing from goodput, and more of it in the overload.
"""
GOALS: Final = """
Goals: goodput at least 0.90 of the best; every refusal is 429 with `Retry-After`, and nothing else
happens; memory stays flat; `/livez` answers within 100 ms.
"""


@dataclass(frozen=True)
class Round:
    """What was found in one round: rates in requests a second, memory in MiB."""

    best: float
    goodput: float
    crowd: Load
    live: Load
    resident: Sequence[float]

    def of(self, status: HTTPStatus) -> list[Answer]:
        """The crowd's answers of one status."""
        return [one for one in self.crowd.answers if one.status == status]


def measure(server: Server, task: Task, asked: Sequence[Query], seconds: float) -> Round:
    """Saturate the server, then overload it for twice as long."""
    address = server.address
    requests = [KINDRED.request(address, task, one.png) for one in asked]
    loops = (closed_loop(address, requests, number, seconds, WARMUP) for number in SATURATING)
    best = max(right(loop.answers, asked, task) / loop.seconds for loop in loops)
    lasting = SETTLING + 2 * seconds
    with ThreadPoolExecutor(1) as other, sampled(lambda: server.resident_bytes) as resident:
        live = other.submit(open_loop, address, [livez(address)], 4, LIVE_RATE, lasting)
        crowd = open_loop(address, requests, CROWD, TIMES * best, lasting)
    return Round(
        best=best,
        goodput=goodput(crowd, asked, task),
        crowd=crowd,
        live=live.result(),
        resident=[size / 2**20 for size in resident],
    )


def right(answers: Sequence[Answer], asked: Sequence[Query], task: Task) -> int:
    """How many of them are what they must be."""
    return len(answers) - len(wrong_answers(answers, asked, task))


def goodput(crowd: Load, asked: Sequence[Query], task: Task) -> float:
    """Right answers a second, of those that came before the load's end and not in settling."""
    began = min(one.due for one in crowd.answers)
    begins, ends = began + SETTLING, began + crowd.seconds
    within = [one for one in crowd.answers if begins <= one.done < ends]
    return right(within, asked, task) / (ends - begins)


def livez(address: Address) -> bytes:
    """A request that asks whether it lives."""
    return f"GET /livez HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n\r\n".encode()


@contextmanager
def sampled(read: Callable[[], float], period: float = 0.25) -> Iterator[list[float]]:
    """What is read again and again while the block runs, and once more at its end."""
    found: list[float] = []
    over = threading.Event()

    def sample() -> None:
        found.append(read())
        while not over.wait(period):
            found.append(read())
        found.append(read())

    reader = threading.Thread(target=sample)
    reader.start()
    try:
        yield found
    finally:
        over.set()
        reader.join()


def rows(rounds: Sequence[Round]) -> Iterator[tuple[str, str]]:
    """Every figure, over all rounds."""

    def each(figure: Callable[[Round], float], digits: int = 0) -> str:
        return spread([figure(one) for one in rounds], digits)

    def milliseconds(answers: Callable[[Round], Sequence[Answer]]) -> str:
        found = [Load(tuple(answers(one)), 1, 0).milliseconds(50, 99, 100) for one in rounds]
        return "; ".join(spread(times, 1) for times in zip(*found, strict=True))

    yield "best goodput, requests/s", each(lambda one: one.best)
    yield "offered, requests/s", each(lambda one: len(one.crowd.answers) / one.crowd.seconds)
    yield "goodput then, requests/s", each(lambda one: one.goodput)
    yield "**of the best**", f"**{each(lambda one: one.goodput / one.best, 2)}**"
    yield "refused (429), share", each(lambda one: len(one.of(BUSY)) / len(one.crowd.answers), 2)
    refused = [answer for one in rounds for answer in one.of(BUSY)]
    untold = sum(RETRY_AFTER.search(one.head) is None for one in refused)
    yield "of these without `Retry-After`", f"{untold} of {len(refused):,}"
    others = Counter(answer.status for one in rounds for answer in one.crowd.answers)
    del others[OK], others[BUSY]
    yield "other statuses", f"{dict(others) or 'none'}"
    yield "answered: p50; p99; most, ms", milliseconds(lambda one: one.of(OK))
    yield "refused: p50; p99; most, ms", milliseconds(lambda one: one.of(BUSY))
    yield "`/livez`: p50; p99; most, ms", milliseconds(lambda one: one.live.answers)
    dead = sum(answer.status != OK for one in rounds for answer in one.live.answers)
    yield "of these not 200", f"{dead}"
    yield "resident before, MiB", each(lambda one: one.resident[0])
    yield "most meanwhile, MiB", each(lambda one: max(one.resident))
    yield "at the end, MiB", each(lambda one: one.resident[-1])
    yield "generator, cores", each(lambda one: one.crowd.generator_cores, 2)


def main(
    bundle: Annotated[Path | None, typer.Option(help="Folder; as the service by default.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each task has its turn.")] = 3,
    seconds: Annotated[float, typer.Option(help="Of each closed loop; an overload has two.")] = 10,
    output: Annotated[Path, typer.Option(help="The document.")] = PERFORMANCE,
) -> None:
    """Measure, print the figures, and write the section."""
    folder = bundle or default_bundle()
    asked = queries(load(folder))
    found: dict[Task, list[Round]] = {task: [] for task in TASKS}
    command = f"python -m benchmarks.serving.overload --rounds {rounds} --seconds {seconds:g}"
    provenance = where(command)
    for number in range(rounds):
        for task in TASKS:
            with KINDRED.start(folder, task, "bundle") as server:
                found[task].append(measure(server, task, asked, seconds))
            one = found[task][-1]
            print_line(
                f"round {number + 1}, {task}: {one.goodput:.0f} of {one.best:.0f} requests/s"
            )
    sizes = [len(one.png) / 1000 for one in asked]
    method = METHOD.format(
        rounds=rounds, saturating=" and ".join(map(str, SATURATING)), seconds=seconds,
        warmup=WARMUP, times=TIMES, crowd=CROWD, overload=2 * seconds + SETTLING,
        settling=SETTLING, live=LIVE_RATE, pictures=len(asked), low=min(sizes), high=max(sizes),
    )  # fmt: skip
    columns = [dict(rows(found[task])) for task in TASKS]
    lines = [(name, *(column[name] for column in columns)) for name in columns[0]]
    shown = table(("", *(TITLES[task] for task in TASKS)), lines)
    print(shown)
    write_section(
        "Overload", "\n\n".join((provenance, wrapped(method), wrapped(GOALS), shown)), output
    )


if __name__ == "__main__":
    typer.run(main)

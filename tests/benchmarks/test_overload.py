"""The overload: one round on a real process, and what is made of rounds."""

import time
from http import HTTPStatus
from pathlib import Path

from benchmarks.harness.load_generator import Answer, Load
from benchmarks.harness.workload import queries
from benchmarks.serving.contenders import KINDRED
from benchmarks.serving.overload import LIVE_RATE, SETTLING, Round, measure, rows, sampled
from training.bundle import load

OK, BUSY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
TOLD = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, seconds: float = 0.1, head: bytes = b"") -> Answer:
    return Answer(0, 0.0, seconds, status, b"", head)


def made(*answers: Answer) -> Round:
    live = Load((answer(OK, 0.003), answer(OK, 0.007)), 10, 0)
    return Round(100, 95, Load(answers, 2, 0.1), live, (500, 520, 510))


def test_every_figure_is_told() -> None:
    told = dict(
        rows([made(answer(OK), answer(OK), answer(BUSY, 0.001, TOLD), answer(BUSY, 0.001))])
    )
    assert told["**of the best**"] == "**0.95**"
    assert told["offered, requests/s"] == "2"
    assert told["refused (429), share"] == "0.50"
    assert told["of these without `Retry-After`"] == "1 of 2"
    assert told["other statuses"] == "none"
    assert told["`/livez`: p50; p99; most, ms"] == "5.0; 7.0; 7.0"
    assert told["most meanwhile, MiB"] == "520"


def test_what_is_neither_an_answer_nor_a_refusal_is_told_by_its_status() -> None:
    told = dict(rows([made(answer(OK), answer(504), answer(BUSY, head=TOLD), answer(504))]))
    assert told["other statuses"] == "{504: 2}"


def test_something_is_read_while_a_block_runs() -> None:
    with sampled(iter(range(10_000)).__next__, period=0.001) as found:
        while len(found) < 3:
            time.sleep(0.001)
    assert found == [*range(len(found))]


def test_an_overload_of_a_real_process_is_measured(bundle_path: Path) -> None:
    asked = queries(load(bundle_path))
    with KINDRED.start(bundle_path, "class", "bundle") as server:
        found = measure(server, "class", asked, seconds=0.5)
    assert found.best > 0
    assert found.goodput > 0
    assert {one.status for one in found.crowd.answers} <= {OK, BUSY}
    assert len(found.live.answers) == LIVE_RATE * (SETTLING + 1)
    assert min(found.resident) > 0

"""Tests of the overload: one round on a real process, and the figures of rounds."""

import time
from http import HTTPStatus
from pathlib import Path

from benchmarks.harness.load_generator import Load, Response
from benchmarks.harness.workload import build_queries
from benchmarks.serving.overload import (
    LIVEZ_RATE,
    SETTLING_SECONDS,
    Round,
    measure,
    rows,
    sampled,
)
from benchmarks.serving.systems import KINDRED
from training.bundle import load

OK, BUSY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


def response(status: int, seconds: float = 0.1, head: bytes = b"") -> Response:
    return Response(0, 0.0, seconds, status, b"", head)


def make_round(*responses: Response) -> Round:
    liveness = Load((response(OK, 0.003), response(OK, 0.007)), 10, 0)
    return Round(100, 95, Load(responses, 2, 0.1), liveness, (500, 520, 510))


def test_every_figure_is_reported() -> None:
    served, refused = response(OK), response(BUSY, 0.001)
    with_head = response(BUSY, 0.001, REFUSAL)
    figures = dict(rows([make_round(served, served, with_head, refused)]))
    assert figures["**of the best**"] == "**0.95**"
    assert figures["offered, requests/s"] == "2"
    assert figures["refused (429), share"] == "0.50"
    assert figures["of these without `Retry-After`"] == "1 of 2"
    assert figures["other statuses"] == "none"
    assert figures["`/livez`: p50; p99; max, ms"] == "5.0; 7.0; 7.0"
    assert figures["most during the overload, MiB"] == "520"


def test_other_statuses_are_counted_by_status() -> None:
    late, refused = response(504), response(BUSY, head=REFUSAL)
    figures = dict(rows([make_round(response(OK), late, refused, late)]))
    assert figures["other statuses"] == "{504: 2}"


def test_a_value_is_sampled_while_a_block_runs() -> None:
    with sampled(iter(range(10_000)).__next__, period=0.001) as found:
        while len(found) < 3:
            time.sleep(0.001)
    assert found == [*range(len(found))]


def test_an_overload_of_a_real_process_is_measured(bundle_path: Path) -> None:
    queries = build_queries(load(bundle_path))
    with KINDRED.start(bundle_path, "class", "bundle") as server:
        found = measure(server, "class", queries, seconds=0.5)
    assert found.best > 0
    assert found.goodput > 0
    assert {one.status for one in found.overload.responses} <= {OK, BUSY}
    assert len(found.liveness.responses) == LIVEZ_RATE * (SETTLING_SECONDS + 1)
    assert min(found.resident) > 0

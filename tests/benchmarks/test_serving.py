"""The race: one turn of ours on a real process, and what is made of the turns of all."""

from pathlib import Path

import pytest

from benchmarks.harness.load_generator import closed_loop
from benchmarks.harness.workload import Task, queries, wrong_answers
from benchmarks.serving.__main__ import SCENARIOS, document, ratios
from benchmarks.serving.contenders import KINDRED, PEER_SYSTEMS
from benchmarks.serving.roofline import RooflineRate, RooflineRequest, roofline
from benchmarks.serving.rounds import Measurement, Results, RooflineShare, Scenario
from benchmarks.serving.startup import start
from training.bundle import load


def made(task: Task = "class") -> Results:
    """Two rounds at one connection: ours at 300 and 400 a second, the peers below 100."""
    results = Results(Scenario(task, "flat", ("closed", "own"), (1,), 2, 1.0, 0.5))
    for number, one in enumerate((KINDRED, *PEER_SYSTEMS)):
        rates = (300.0, 400.0) if one is KINDRED else (100.0 - number, 50.0 + number)
        results.turns[one.name, "closed", 1] = [
            Measurement(None, rate, 1000 / rate, 1000 / rate, 1000 / rate, 0, 0.01)
            for rate in rates
        ]
    results.shares[1] = [
        RooflineShare(1.0, 300.0, 600.0, 400.0),
        RooflineShare(1.0, 400.0, 500.0, 400.0),
    ]
    return results


def test_ours_is_held_against_the_best_peer_of_the_same_round() -> None:
    rates = ratios(made(), 1, lambda turn: turn.rate, max)
    assert rates == pytest.approx([300 / 99, 400 / 53])
    waits = ratios(made(), 1, lambda turn: turn.p50, min)
    assert waits == pytest.approx([99 / 300, 53 / 400])


def test_a_peer_that_answers_nothing_is_beaten_beyond_measure() -> None:
    results = made()
    for rival in PEER_SYSTEMS:
        results.turns[rival.name, "closed", 1] = [Measurement(None, 0, 1, 1, 1, 0, 0)] * 2
    assert ratios(results, 1, lambda turn: turn.rate, max) == [float("inf")] * 2


def test_the_section_has_every_server_the_ratios_and_the_shares() -> None:
    text = document(
        [made(task) for task, index, _ in SCENARIOS if index == "flat"], "How.", "Where."
    )
    assert all(one.name in text for one in (KINDRED, *PEER_SYSTEMS))
    assert "5.29 (3.03 to 7.55)" in text
    assert "0.65 (0.50 to 0.80)" in text


@pytest.mark.parametrize("task", ["class", "conv2"])
def test_ours_answers_a_load_right(bundle_path: Path, task: Task) -> None:
    asked = queries(load(bundle_path))
    with KINDRED.start(bundle_path, task, "flat") as server:
        requests = [KINDRED.request(server.address, task, one.png) for one in asked]
        found = closed_loop(server.address, requests, 8, seconds=0.5, warmup=0.1)
    assert found.answers
    assert wrong_answers(found.answers, asked, task) == []


def test_the_bare_limit_is_told_by_a_process_of_its_own(bundle_path: Path) -> None:
    with roofline(bundle_path) as roofline_worker:
        for task in ("class", "conv2"):
            rate = roofline_worker.ask(
                RooflineRequest(task=task, batch=4, seconds=0.05), RooflineRate
            )
            assert rate.images_per_second > 0


def test_a_start_is_timed_and_its_memory_read_before_and_after(bundle_path: Path) -> None:
    found = start(bundle_path, queries(load(bundle_path)))
    assert found.seconds > 0
    assert found.ready_bytes > 0
    assert found.later_bytes > 0
    assert found.errors == 0

"""Tests of the comparison: a measurement on a real process, and the section of all results."""

from pathlib import Path

import pytest

from benchmarks.harness.load_generator import closed_loop
from benchmarks.harness.workload import Task, build_queries, wrong_responses
from benchmarks.serving.__main__ import SCENARIOS, ratios, render_section
from benchmarks.serving.roofline import RooflineRate, RooflineRequest, start_roofline
from benchmarks.serving.rounds import Measurement, Results, RooflineShare, Scenario
from benchmarks.serving.startup import measure_start
from benchmarks.serving.systems import KINDRED, PEER_SYSTEMS
from training.bundle import load


def make_results(task: Task = "class") -> Results:
    """Build two rounds at one connection: kindred at 300 and 400/s, the peers up to 100/s."""
    results = Results(Scenario(task, "flat", ("closed", "own"), (1,), 2, 1.0, 0.5))
    for number, one in enumerate((KINDRED, *PEER_SYSTEMS)):
        rates = (300.0, 400.0) if one is KINDRED else (100.0 - number, 50.0 + number)
        results.measurements[one.name, "closed", 1] = [
            Measurement(None, rate, 1000 / rate, 1000 / rate, 1000 / rate, 0, 0.01)
            for rate in rates
        ]
    results.shares[1] = [
        RooflineShare(1.0, 300.0, 600.0, 400.0),
        RooflineShare(1.0, 400.0, 500.0, 400.0),
    ]
    return results


def test_ratios_are_to_the_best_peer_of_the_same_round() -> None:
    rates = ratios(make_results(), 1, lambda one: one.rate, max)
    assert rates == pytest.approx([300 / 99, 400 / 53])
    latencies = ratios(make_results(), 1, lambda one: one.p50, min)
    assert latencies == pytest.approx([99 / 300, 53 / 400])


def test_the_ratio_to_peers_without_responses_is_infinite() -> None:
    results = make_results()
    for peer in PEER_SYSTEMS:
        results.measurements[peer.name, "closed", 1] = [Measurement(None, 0, 1, 1, 1, 0, 0)] * 2
    assert ratios(results, 1, lambda one: one.rate, max) == [float("inf")] * 2


def test_the_section_has_every_system_the_ratios_and_the_roofline() -> None:
    text = render_section(
        [make_results(task) for task, index, _ in SCENARIOS if index == "flat"], "How.", "Where."
    )
    assert all(one.name in text for one in (KINDRED, *PEER_SYSTEMS))
    assert "5.29 (3.03 to 7.55)" in text
    assert "0.65 (0.50 to 0.80)" in text


@pytest.mark.parametrize("task", ["class", "conv2"])
def test_the_service_responds_right_under_load(bundle_path: Path, task: Task) -> None:
    queries = build_queries(load(bundle_path))
    with KINDRED.start(bundle_path, task, "flat") as server:
        requests = [KINDRED.request(server.address, task, one.png) for one in queries]
        found = closed_loop(server.address, requests, 8, seconds=0.5, warmup=0.1)
    assert found.responses
    assert wrong_responses(found.responses, queries, task) == []


def test_the_roofline_is_measured_in_a_worker_process(bundle_path: Path) -> None:
    with start_roofline(bundle_path) as roofline:
        for task in ("class", "conv2"):
            rate = roofline.call(RooflineRequest(task=task, batch=4, seconds=0.05), RooflineRate)
            assert rate.images_per_second > 0


def test_a_start_has_its_time_and_its_memory_before_and_after_requests(bundle_path: Path) -> None:
    found = measure_start(bundle_path, build_queries(load(bundle_path)))
    assert found.seconds > 0
    assert found.ready_bytes > 0
    assert found.later_bytes > 0
    assert found.errors == 0

"""Tests of the short runs: probes, outcomes, and the file of traces."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.training import collapse
from benchmarks.training.collapse import CHANGES, batches, run_trace
from benchmarks.training.traces import (
    Trace,
    TrainingProbe,
    load_traces,
    save_traces,
    summarise,
)
from tests.support.factories import tiny
from training.data.tensors import LabelledTensors
from training.experiments.catalogue import find
from training.experiments.environment import describe
from training.models.device import pick_device

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def data() -> LabelledTensors:
    """150 images."""
    made = tiny(per_class=15)
    return LabelledTensors(made.images, made.labels)


def make_trace(change: str, init: int, *losses: float, network: str = "none-3") -> Trace:
    """Build a trace with these losses, each after 20 more steps."""
    norms = {"block 0.conv1": 1.0}
    looks = tuple(
        TrainingProbe(
            step=20 * number,
            loss=loss if number else None,
            weight=norms,
            gradient=norms,
            decay=norms,
            dead={"conv1": 0.0},
            logit_std=0.1,
        )
        for number, loss in enumerate((0.0, *losses))
    )
    return Trace(
        network=network,
        change=change,
        init=init,
        order=init,
        precision="fp32",
        steps=400,
        environment=describe(pick_device("cpu")),
        looks=looks,
    )


@pytest.mark.parametrize(
    ("loss", "outcome"), [(1.5, "learned"), (2.0, "slow"), (math.log(10), "stuck")]
)
def test_the_outcome_of_a_run_depends_on_its_last_loss(loss: float, outcome: str) -> None:
    assert make_trace("in fp32", 0, 2.3, loss).outcome == outcome


@pytest.fixture
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe after every second step, so that runs can be short."""
    monkeypatch.setattr(collapse, "PROBE_INTERVAL", 2)


@pytest.mark.usefixtures("short_interval")
def test_a_run_is_probed_at_each_interval(data: LabelledTensors) -> None:
    found = run_trace("none-2", "in fp32", 0, 0, data, steps=4)
    assert [one.step for one in found.looks] == [0, 2, 4]
    first, last = found.looks[0], found.looks[-1]
    assert first.loss is None
    assert last.loss is not None
    assert first.weight.keys() == last.weight.keys() == last.gradient.keys()
    assert set(first.gradient.values()) == {0.0}
    assert all(norm > 0 for norm in last.gradient.values())
    assert first.weight != last.weight


@pytest.mark.usefixtures("short_interval")
def test_a_run_ends_when_it_has_learned(
    data: LabelledTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "LEARNED", math.inf)
    found = run_trace("none-2", "in fp32", 0, 0, data, steps=10)
    assert found.looks[-1].step == 2


@pytest.mark.usefixtures("short_interval")
def test_a_run_is_determined_by_its_seeds(data: LabelledTensors) -> None:
    one, same, other = (
        run_trace("dropout-2", "in fp32", init, 5, data, steps=2).looks for init in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_each_change_differs_in_one_setting() -> None:
    report = find("none-3")
    for name, change in CHANGES.items():
        changed = change(report)
        parts = [
            before != after
            for before, after in (
                *zip(
                    report.config.model_dump().items(),
                    changed.config.model_dump().items(),
                    strict=True,
                ),
                *zip(
                    report.variant.model_dump().items(),
                    changed.variant.model_dump().items(),
                    strict=True,
                ),
            )
        ]
        assert sum(parts) == (name != "as in the report"), name


def test_batches_are_full_and_continue_over_epochs() -> None:
    taken = list(batches(10, 4, 0, 5))
    assert [len(batch) for batch in taken] == [4] * 5
    assert len(torch.cat(taken[:2]).unique()) == 8  # no image twice in an epoch
    assert all(map(torch.equal, taken, batches(10, 4, 0, 5)))


def test_traces_are_saved_and_loaded(tmp_path: Path) -> None:
    traces = [make_trace("in fp32", 0, 2.3), make_trace("weight decay 0", 1, 2.3, 1.5)]
    save_traces(traces, tmp_path / "collapse.json")
    assert list(load_traces(tmp_path / "collapse.json").values()) == traces
    assert load_traces(tmp_path / "none.json") == {}


def test_the_table_counts_the_runs_of_each_network_and_change() -> None:
    table = summarise(
        [
            make_trace("in fp32", 0, 2.3025),
            make_trace("in fp32", 1, 2.1),
            make_trace("in fp32", 2, 2.2, 1.5),
            make_trace("in fp32", 2, 1.5, network="dropout-3"),
        ]
    )
    cells = [list(column.cells) for column in table.columns]
    assert list(zip(*cells, strict=True)) == [
        ("none-3", "in fp32", "fp32", "1 of 3", "1 of 3", "1 of 3", "40"),
        ("dropout-3", "in fp32", "fp32", "1 of 1", "0 of 1", "0 of 1", "20"),
    ]

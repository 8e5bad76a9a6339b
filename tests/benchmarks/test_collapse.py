"""Short runs that are looked at while they learn, or do not."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.training import collapse
from benchmarks.training.collapse import CHANGES, batches, trace
from benchmarks.training.traces import Trace, TrainingProbe, read, summary, write
from tests.support.factories import tiny
from training.data.tensors import LabelledTensors
from training.experiments.catalogue import find
from training.experiments.environment import describe
from training.models.device import pick_device


@pytest.fixture(scope="module")
def data() -> LabelledTensors:
    """150 pictures."""
    made = tiny(per_class=15)
    return LabelledTensors(made.images, made.labels)


def made_trace(change: str, init: int, *losses: float, network: str = "none-3") -> Trace:
    """A trace with these losses, each after 20 more steps."""
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
def test_what_became_of_a_run_is_told_by_its_last_loss(loss: float, outcome: str) -> None:
    assert made_trace("in fp32", 0, 2.3, loss).outcome == outcome


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at a run after every second step, so that it may be short."""
    monkeypatch.setattr(collapse, "EVERY", 2)


@pytest.mark.usefixtures("often")
def test_a_run_is_looked_at_as_it_goes(data: LabelledTensors) -> None:
    found = trace("none-2", "in fp32", 0, 0, data, steps=4)
    assert [one.step for one in found.looks] == [0, 2, 4]
    first, last = found.looks[0], found.looks[-1]
    assert first.loss is None
    assert last.loss is not None
    assert first.weight.keys() == last.weight.keys() == last.gradient.keys()
    assert set(first.gradient.values()) == {0.0}
    assert all(norm > 0 for norm in last.gradient.values())
    assert first.weight != last.weight


@pytest.mark.usefixtures("often")
def test_a_run_ends_when_it_has_learned(
    data: LabelledTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "LEARNED", math.inf)
    found = trace("none-2", "in fp32", 0, 0, data, steps=10)
    assert found.looks[-1].step == 2


@pytest.mark.usefixtures("often")
def test_the_same_seeds_give_the_same_run(data: LabelledTensors) -> None:
    one, same, other = (
        trace("dropout-2", "in fp32", init, 5, data, steps=2).looks for init in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_a_change_changes_one_thing() -> None:
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


def test_batches_are_full_and_go_on_over_epochs() -> None:
    taken = list(batches(10, 4, 0, 5))
    assert [len(batch) for batch in taken] == [4] * 5
    assert len(torch.cat(taken[:2]).unique()) == 8  # of one epoch, no image twice
    assert all(map(torch.equal, taken, batches(10, 4, 0, 5)))


def test_traces_are_kept(tmp_path: Path) -> None:
    traces = [made_trace("in fp32", 0, 2.3), made_trace("weight decay 0", 1, 2.3, 1.5)]
    write(traces, tmp_path / "collapse.json")
    assert list(read(tmp_path / "collapse.json").values()) == traces
    assert read(tmp_path / "none.json") == {}


def test_the_table_counts_runs_of_a_network_and_a_change() -> None:
    table = summary(
        [
            made_trace("in fp32", 0, 2.3025),
            made_trace("in fp32", 1, 2.1),
            made_trace("in fp32", 2, 2.2, 1.5),
            made_trace("in fp32", 2, 1.5, network="dropout-3"),
        ]
    )
    cells = [list(column.cells) for column in table.columns]
    assert list(zip(*cells, strict=True)) == [
        ("none-3", "in fp32", "fp32", "1 of 3", "1 of 3", "1 of 3", "40"),
        ("dropout-3", "in fp32", "fp32", "1 of 1", "0 of 1", "0 of 1", "20"),
    ]

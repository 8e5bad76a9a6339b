"""Tests of sweeps, with training replaced by a stub."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.support.factories import network, tiny
from training.data.splits import split
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.record import Record
from training.models.blocknet import BlockNet
from training.trainer.run import RunSpec, initial_record
from training.workflows import workspace as workspace_module
from training.workflows.export import ExportOptions
from training.workflows.workspace import Workspace

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "root", CPU)


class Stub:
    """Replaces training: returns at once, records its calls, and fails for the given names."""

    def __init__(self, failing: Sequence[str] = ()) -> None:
        self.failing, self.calls = failing, list[str]()

    def __call__(self, spec: RunSpec, **_: object) -> tuple[BlockNet, Record]:
        self.calls.append(f"{spec.experiment.name}/{spec.seed}")
        if spec.experiment.name in self.failing:
            raise RuntimeError("see [/tmp/log] for [bold]why")
        return network(), initial_record(spec).model_copy(update={"status": "finished"})


def sweep(workspace: Workspace, names: Sequence[str], seeds: Sequence[int]) -> int:
    images = tiny(per_class=4)
    runs = workspace.sweep([find(name) for name in names], seeds, images, split(images, 0))
    return sum(run.status == "failed" for run in runs)


def statuses(workspace: Workspace) -> dict[str, str]:
    return {
        f"{one.experiment}/{one.seeds.init}": one.status
        for one in record.read_all(workspace.experiments)
    }


def test_every_experiment_is_run_with_every_seed(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "run", Stub())
    assert sweep(empty, ["none-2", "dropout-3"], [0, 1]) == 0
    expected = {"none-2/0", "none-2/1", "dropout-3/0", "dropout-3/1"}
    assert statuses(empty) == dict.fromkeys(expected, "finished")


def test_a_run_with_a_record_is_not_run_again(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "run", Stub())
    sweep(empty, ["none-2"], [0])
    monkeypatch.setattr(workspace_module, "run", again := Stub())
    sweep(empty, ["none-2", "none-3"], [0])
    assert again.calls == ["none-3/0"]


def test_a_failed_run_is_recorded_and_the_other_runs_continue(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workspace_module, "run", Stub(failing=["none-2"]))
    assert sweep(empty, ["none-2", "none-3"], [0]) == 1
    assert statuses(empty) == {"none-2/0": "failed", "none-3/0": "finished"}
    (failed,) = (one for one in record.read_all(empty.experiments) if one.status == "failed")
    assert failed.error == "RuntimeError('see [/tmp/log] for [bold]why')"
    assert "see [/tmp/log] for [bold]why" in capsys.readouterr().err


def test_a_sweep_returns_the_records_of_all_runs_including_earlier_ones(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "run", Stub(failing=["none-3"]))
    images = tiny(per_class=4)
    parts = split(images, 0)
    empty.sweep([find("none-2")], [0], images, parts)
    runs = empty.sweep([find("none-2"), find("none-3")], [0, 1], images, parts)
    assert [(run.experiment, run.seeds.init, run.status) for run in runs] == [
        ("none-2", 0, "finished"),
        ("none-3", 0, "failed"),
        ("none-2", 1, "finished"),
        ("none-3", 1, "failed"),
    ]


def test_an_experiment_named_twice_is_run_once(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "run", stub := Stub())
    sweep(empty, ["none-2", "none-2"], [0, 0])
    assert stub.calls == ["none-2/0"]


def test_a_failed_run_is_run_again(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "run", Stub(failing=["none-2"]))
    sweep(empty, ["none-2"], [0])
    monkeypatch.setattr(workspace_module, "run", Stub())
    assert sweep(empty, ["none-2"], [0]) == 0
    assert statuses(empty) == {"none-2/0": "finished"}


def test_an_interrupted_sweep_continues_with_the_remaining_runs(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Stub):
        def __call__(self, spec: RunSpec, **_: object) -> tuple[BlockNet, Record]:
            if spec.experiment.name == "none-3":
                raise KeyboardInterrupt
            return super().__call__(spec)

    names = ["none-2", "none-3", "dropout-2"]
    monkeypatch.setattr(workspace_module, "run", Stopped())
    with pytest.raises(KeyboardInterrupt):
        sweep(empty, names, [0])
    assert statuses(empty) == {"none-2/0": "finished"}
    monkeypatch.setattr(workspace_module, "run", rest := Stub())
    sweep(empty, names, [0])
    assert rest.calls == ["none-3/0", "dropout-2/0"]


def test_a_named_experiment_is_released_without_other_studies(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "run", stub := Stub(failing=["dropout-2"]))
    images = tiny(per_class=4)
    with pytest.raises(RuntimeError):
        empty.release(
            images,
            split(images, 0),
            empty.bundle_of(None),
            ExportOptions(),
            None,
            find("dropout-2"),
            7,
        )
    assert stub.calls == ["dropout-2/0"]

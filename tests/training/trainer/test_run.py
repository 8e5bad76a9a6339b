"""Tests of a run, as a study and as a final run, and of the store that saves it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from tests.conftest import short
from tests.support.factories import labelled, tiny
from training.data.dataset import Dataset
from training.data.splits import Splits, split
from training.data.tensors import LabelledTensors
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.experiments.record import Record, Stage
from training.models.network import Network
from training.trainer.build import build_network
from training.trainer.fit import FitResult, fit
from training.trainer.run import RunSpec, initial_record, run
from training.trainer.run_store import RunStore

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Return eighty different images."""
    return tiny(per_class=8)


@pytest.fixture(scope="module")
def parts(images: Dataset) -> Splits:
    return split(images, 0)


def spec(
    images: Dataset,
    parts: Splits,
    stage: Stage = "study",
    *,
    seed: int = 0,
    experiment: Experiment | None = None,
) -> RunSpec:
    return RunSpec(experiment or short(find("batchnorm-2"), 1), images, parts, seed, stage, CPU)


@dataclass(frozen=True)
class TrainedRuns:
    """A study and a final run in one store, and the images that `fit` received in each."""

    store: RunStore
    networks: dict[Stage, Network]
    records: dict[Stage, Record]
    received: dict[Stage, Tensor]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, images: Dataset, parts: Splits) -> TrainedRuns:
    root = tmp_path_factory.mktemp("kept")
    kept = TrainedRuns(RunStore(root / "experiments", root / "checkpoints"), {}, {}, {})
    stages: tuple[Stage, ...] = ("study", "final")
    for stage in stages:

        def recording_fit(
            network: Network,
            training: LabelledTensors,
            validation: LabelledTensors | None,
            *rest: Any,
            stage: Stage = stage,
            **more: Any,
        ) -> FitResult:
            received = [training.images, *([validation.images] if validation else [])]
            kept.received[stage] = torch.cat(received)
            return fit(network, training, validation, *rest, **more)

        with patch("training.trainer.run.fit", recording_fit):
            kept.networks[stage], kept.records[stage] = run(spec(images, parts, stage))
        kept.store.save(kept.networks[stage], kept.records[stage])
    return kept


@pytest.fixture(scope="module")
def study(kept: TrainedRuns) -> Record:
    return kept.records["study"]


@pytest.fixture(scope="module")
def final(kept: TrainedRuns) -> Record:
    return kept.records["final"]


def image_bytes(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("stage", ["study", "final"])
def test_the_parts_of_a_run_are_disjoint_and_cover_all_images(
    stage: Stage, images: Dataset, parts: Splits
) -> None:
    used = spec(images, parts, stage).indices
    positions = [position for indices in used.values() for position in indices.tolist()]
    assert sorted(positions) == list(range(len(images)))


def test_a_study_trains_on_train_and_validates_on_validation(
    images: Dataset, parts: Splits
) -> None:
    used = spec(images, parts, "study").indices
    assert {name: tuple(indices) for name, indices in used.items()} == {
        "train": parts.train,
        "validation": parts.validation,
        "test": parts.test,
    }


def test_the_final_run_trains_on_train_and_validation(images: Dataset, parts: Splits) -> None:
    used = spec(images, parts, "final").indices
    assert set(used) == {"train", "test"}
    assert set(used["train"].tolist()) == {*parts.train, *parts.validation}


def test_the_test_images_are_the_same_in_study_and_final(images: Dataset, parts: Splits) -> None:
    study, final = (spec(images, parts, stage).indices["test"] for stage in ("study", "final"))
    assert study.tolist() == final.tolist()


@pytest.mark.parametrize("stage", ["study", "final"])
def test_no_test_image_reaches_the_training(
    stage: Stage, kept: TrainedRuns, images: Dataset, parts: Splits
) -> None:
    held_out = image_bytes(images.images[parts.indices("test")])
    used = image_bytes(kept.received[stage])
    assert not used & held_out
    assert len(used) == len(images) - len(held_out)


def test_the_final_run_trains_a_new_network(images: Dataset, parts: Splits, final: Record) -> None:
    """Its losses are those of a new network, although a study came before."""
    this_run = spec(images, parts, "final")
    together = parts.indices("train", "validation")
    training = LabelledTensors(images.images[together], images.labels[together])
    fresh = build_network(this_run.experiment, len(images.classes), 0, training.images)
    made = fit(fresh, training, None, this_run.experiment.config, final.seeds, augmentation=False)
    assert [one.train_loss for one in made.curves] == [one.train_loss for one in final.curves]


def test_the_same_seed_gives_the_same_losses_and_results(
    images: Dataset, parts: Splits, study: Record
) -> None:
    _, again = run(spec(images, parts))
    keep = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    assert [[getattr(e, name) for name in keep] for e in again.curves] == [
        [getattr(e, name) for name in keep] for e in study.curves
    ]
    assert (again.test, again.run_id) == (study.test, study.run_id)


def test_another_seed_gives_other_losses_and_another_name(
    images: Dataset, parts: Splits, study: Record
) -> None:
    _, other = run(spec(images, parts, seed=1))
    assert other.curves[0].train_loss != study.curves[0].train_loss
    assert other.run_id != study.run_id
    assert other.group_id == study.group_id


def test_a_record_has_the_settings_of_the_run(
    images: Dataset, parts: Splits, study: Record
) -> None:
    assert (study.experiment, study.stage, study.status) == ("batchnorm-2", "study", "finished")
    assert study.dataset.fingerprint == images.fingerprint
    assert {name: ref.count for name, ref in study.dataset.splits.items()} == {
        "train": 60,
        "validation": 10,
        "test": 10,
    }
    assert (study.seeds.split, study.seeds.init) == (parts.seed, 0)
    assert study.published_name == find("batchnorm-2").published_name


def test_only_runs_on_cifar10_have_published_figures(
    images: Dataset, parts: Splits, study: Record
) -> None:
    assert study.published is None
    ids = tuple(f"cifar10-train-{n:05d}" for n in range(len(images)))
    cifar10 = Dataset("cifar10-png", images.classes, images.images, images.labels, ids)
    assert initial_record(spec(cifar10, parts)).published == find("batchnorm-2").published


def test_a_record_has_the_results_of_the_run(study: Record) -> None:
    assert study.test
    assert study.timing
    assert study.diagnostics
    assert study.test.count == 10
    assert len(study.curves) == 1
    assert study.timing.train > 0


def test_a_final_record_has_no_validation(final: Record) -> None:
    assert set(final.dataset.splits) == {"train", "test"}
    assert final.validation_accuracy is None


def test_the_record_has_the_chosen_precision_instead_of_auto(
    images: Dataset, parts: Splits
) -> None:
    assert initial_record(spec(images, parts, experiment=find("none-2"))).config.precision != "auto"


def test_the_initial_record_of_a_run_has_the_status_failed(images: Dataset, parts: Splits) -> None:
    assert initial_record(spec(images, parts)).status == "failed"


def test_a_run_that_does_not_learn_is_recorded_as_collapsed(images: Dataset, parts: Splits) -> None:
    experiment = short(find("none-2"), 1)
    still = experiment.model_copy(
        update={"config": experiment.config.model_copy(update={"learning_rate": 0.0})}
    )
    _, made = run(spec(images, parts, experiment=still))
    assert made.status == "collapsed"


def test_a_run_that_learned_only_the_class_frequencies_has_collapsed() -> None:
    """Its loss is far below ln 2, but its output is constant."""
    uneven = labelled([0] * 180 + [1] * 20)
    experiment = short(find("none-2"), 3)
    _, made = run(spec(uneven, split(uneven, 0), experiment=experiment))
    assert made.curves[-1].train_loss < math.log(2) - 0.2
    assert made.status == "collapsed"
    assert made.diagnostics
    assert made.diagnostics.constant_output


def test_bf16_is_replaced_if_the_machine_lacks_it(
    images: Dataset, parts: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, if the study of another machine is released."""
    config = find("none-2").config.model_copy(update={"precision": "bf16"})
    elsewhere = find("none-2").model_copy(update={"config": config})
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert spec(images, parts, experiment=elsewhere).resolved.config.precision == "fp32"


def test_the_number_of_steps_includes_a_shorter_last_batch(images: Dataset, parts: Splits) -> None:
    assert spec(images, parts).steps == 4  # 60 images in batches of 16
    assert spec(images, parts, "final").steps == 5


def test_on_step_is_called_after_every_step(images: Dataset, parts: Splits) -> None:
    steps: list[int] = []
    this_run = spec(images, parts)
    run(this_run, on_step=lambda: steps.append(1))
    assert len(steps) == this_run.steps


def test_a_seed_determines_the_weights_and_the_callers_random_state_does_not_change(
    images: Dataset,
) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build_network(find("none-2"), 10, seed, images.images) for seed in (0, 0, 1)
    )
    assert torch.equal(first.output.weight, again.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_run_can_be_loaded(kept: TrainedRuns, images: Dataset, parts: Splits) -> None:
    found = kept.store.load(spec(images, parts))
    assert found
    weights = kept.networks["study"].state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found[0].state_dict().items())
    assert found[1] == kept.records["study"]


def test_a_run_with_another_seed_is_not_loaded(
    kept: TrainedRuns, images: Dataset, parts: Splits
) -> None:
    assert kept.store.load(spec(images, parts, seed=1)) is None


def test_a_run_on_another_split_is_not_loaded(kept: TrainedRuns, images: Dataset) -> None:
    """Its network may have been trained on the test images of this split."""
    other = spec(images, split(images, seed=1))
    assert kept.store.load(other) is None
    assert kept.store.load_record(other) is None


def test_without_its_network_only_the_record_of_a_run_is_loaded(
    kept: TrainedRuns, images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    this_run = spec(images, parts)
    store = RunStore(kept.store.records, tmp_path)
    assert store.load(this_run) is None
    assert store.load_record(this_run)


def test_the_record_of_a_failed_run_is_not_loaded(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    this_run = spec(images, parts)
    record.write(initial_record(this_run), tmp_path)
    assert RunStore(tmp_path, tmp_path).load_record(this_run) is None


def test_a_stopped_run_continues_from_its_store_and_leaves_no_state_behind(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    this_run = spec(images, parts, experiment=short(find("batchnorm-2"), 2))
    store = RunStore(tmp_path / "records", tmp_path / "checkpoints")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(this_run, on_epoch=interrupt, resume=store.resume(this_run))
    epochs: list[int] = []
    network, made = run(
        this_run, on_epoch=lambda one: epochs.append(one.epoch), resume=store.resume(this_run)
    )
    store.save(network, made)
    assert epochs == [2]
    assert len(made.curves) == 2
    assert [file.name for file in store.checkpoints.iterdir()] == [this_run.run_id]


def test_the_state_of_a_run_on_another_split_is_not_used(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    """Its network may have been trained on the test images of this split."""
    store = RunStore(tmp_path, tmp_path)
    moved = parts.model_copy(update={"train": parts.validation, "validation": parts.train})
    one, other = store.resume(spec(images, parts)), store.resume(spec(images, moved))
    assert one.file == other.file
    assert one.key != other.key

"""One run, as a study or as the final one."""

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
from training.models.blocknet import BlockNet
from training.trainer.build import build_network
from training.trainer.fit import FitResult, fit
from training.trainer.run import RunSpec, begin, run
from training.trainer.run_store import RunStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Eighty pictures, and no two alike."""
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
    """A study and the final run after it, in one folder, and the images that each trained on."""

    store: RunStore
    networks: dict[Stage, BlockNet]
    records: dict[Stage, Record]
    given: dict[Stage, Tensor]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, images: Dataset, parts: Splits) -> TrainedRuns:
    root = tmp_path_factory.mktemp("kept")
    kept = TrainedRuns(RunStore(root / "experiments", root / "checkpoints"), {}, {}, {})
    stages: tuple[Stage, ...] = ("study", "final")
    for stage in stages:

        def watch(
            network: BlockNet,
            training: LabelledTensors,
            validation: LabelledTensors | None,
            *rest: Any,
            stage: Stage = stage,
            **more: Any,
        ) -> FitResult:
            watching = [training.images, *([validation.images] if validation else [])]
            kept.given[stage] = torch.cat(watching)
            return fit(network, training, validation, *rest, **more)

        with patch("training.trainer.run.fit", watch):
            kept.networks[stage], kept.records[stage] = run(spec(images, parts, stage))
        kept.store.save(kept.networks[stage], kept.records[stage])
    return kept


@pytest.fixture(scope="module")
def study(kept: TrainedRuns) -> Record:
    return kept.records["study"]


@pytest.fixture(scope="module")
def final(kept: TrainedRuns) -> Record:
    return kept.records["final"]


def keys(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("stage", ["study", "final"])
def test_what_a_run_uses_is_disjoint_and_everything(
    stage: Stage, images: Dataset, parts: Splits
) -> None:
    used = spec(images, parts, stage).indices
    positions = [position for indices in used.values() for position in indices.tolist()]
    assert sorted(positions) == list(range(len(images)))


def test_a_study_trains_on_train_and_watches_validation(images: Dataset, parts: Splits) -> None:
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
def test_no_test_image_ever_reaches_the_training(
    stage: Stage, kept: TrainedRuns, images: Dataset, parts: Splits
) -> None:
    held_out = keys(images.images[parts.indices("test")])
    used = keys(kept.given[stage])
    assert not used & held_out
    assert len(used) == len(images) - len(held_out)


def test_the_final_run_starts_afresh(images: Dataset, parts: Splits, final: Record) -> None:
    """Though a study came before it, it learns what a fresh network learns."""
    wanted = spec(images, parts, "final")
    together = parts.indices("train", "validation")
    training = LabelledTensors(images.images[together], images.labels[together])
    fresh = build_network(wanted.experiment, len(images.classes), 0, training.images)
    made = fit(fresh, training, None, wanted.experiment.config, final.seeds, augmentation=False)
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


def test_a_record_says_what_was_asked(images: Dataset, parts: Splits, study: Record) -> None:
    assert (study.experiment, study.stage, study.status) == ("batchnorm-2", "study", "finished")
    assert study.dataset.fingerprint == images.fingerprint
    assert {name: ref.count for name, ref in study.dataset.splits.items()} == {
        "train": 60,
        "validation": 10,
        "test": 10,
    }
    assert (study.seeds.split, study.seeds.init) == (parts.seed, 0)
    assert study.published_name == find("batchnorm-2").published_name


def test_what_was_published_stands_beside_runs_on_the_same_images_alone(
    images: Dataset, parts: Splits, study: Record
) -> None:
    assert study.published is None
    ids = tuple(f"cifar10-train-{n:05d}" for n in range(len(images)))
    cifar10 = Dataset("cifar10-png", images.classes, images.images, images.labels, ids)
    assert begin(spec(cifar10, parts)).published == find("batchnorm-2").published


def test_a_record_says_what_came_of_it(study: Record) -> None:
    assert study.test
    assert study.timing
    assert study.diagnostics
    assert study.test.count == 10
    assert len(study.curves) == 1
    assert study.timing.train > 0


def test_a_final_record_has_no_validation(final: Record) -> None:
    assert set(final.dataset.splits) == {"train", "test"}
    assert final.validation_accuracy is None


def test_auto_is_made_definite_in_the_record(images: Dataset, parts: Splits) -> None:
    assert begin(spec(images, parts, experiment=find("none-2"))).config.precision != "auto"


def test_a_run_counts_as_failed_until_it_has_come_to_something(
    images: Dataset, parts: Splits
) -> None:
    assert begin(spec(images, parts)).status == "failed"


def test_a_run_that_does_not_learn_is_recorded_as_collapsed(images: Dataset, parts: Splits) -> None:
    experiment = short(find("none-2"), 1)
    still = experiment.model_copy(
        update={"config": experiment.config.model_copy(update={"learning_rate": 0.0})}
    )
    _, made = run(spec(images, parts, experiment=still))
    assert made.status == "collapsed"


def test_a_run_that_learned_how_many_of_each_class_there_are_has_collapsed_too() -> None:
    """Its loss is far below ln 2, and it has not looked at an image."""
    uneven = labelled([0] * 180 + [1] * 20)
    experiment = short(find("none-2"), 3)
    _, made = run(spec(uneven, split(uneven, 0), experiment=experiment))
    assert made.curves[-1].train_loss < math.log(2) - 0.2
    assert made.status == "collapsed"
    assert made.diagnostics
    assert made.diagnostics.constant_output


def test_bf16_that_is_out_of_reach_is_not_asked_for(
    images: Dataset, parts: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a study of another machine is released."""
    config = find("none-2").config.model_copy(update={"precision": "bf16"})
    elsewhere = find("none-2").model_copy(update={"config": config})
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert spec(images, parts, experiment=elsewhere).resolved.config.precision == "fp32"


def test_steps_are_counted_with_the_uneven_rest(images: Dataset, parts: Splits) -> None:
    assert spec(images, parts).steps == 4  # 60 images in batches of 16
    assert spec(images, parts, "final").steps == 5


def test_every_step_is_reported(images: Dataset, parts: Splits) -> None:
    steps: list[int] = []
    wanted = spec(images, parts)
    run(wanted, on_step=lambda: steps.append(1))
    assert len(steps) == wanted.steps


def test_a_seed_draws_the_weights_and_leaves_the_callers_random_state(images: Dataset) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build_network(find("none-2"), 10, seed, images.images) for seed in (0, 0, 1)
    )
    assert torch.equal(first.output.weight, again.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_was_kept_is_found_again(
    kept: TrainedRuns, images: Dataset, parts: Splits
) -> None:
    found = kept.store.load(spec(images, parts))
    assert found
    weights = kept.networks["study"].state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found[0].state_dict().items())
    assert found[1] == kept.records["study"]


def test_a_run_with_another_seed_is_not_found(
    kept: TrainedRuns, images: Dataset, parts: Splits
) -> None:
    assert kept.store.load(spec(images, parts, seed=1)) is None


def test_a_run_on_another_split_is_not_taken_for_this_one(
    kept: TrainedRuns, images: Dataset
) -> None:
    """Its network has been trained on what is now held out."""
    other = spec(images, split(images, seed=1))
    assert kept.store.load(other) is None
    assert kept.store.load_record(other) is None


def test_without_its_network_a_run_is_recorded_but_not_finished(
    kept: TrainedRuns, images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    wanted = spec(images, parts)
    store = RunStore(kept.store.records, tmp_path)
    assert store.load(wanted) is None
    assert store.load_record(wanted)


def test_a_failed_run_is_not_taken_for_a_finished_one(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    wanted = spec(images, parts)
    record.write(begin(wanted), tmp_path)
    assert RunStore(tmp_path, tmp_path).load_record(wanted) is None

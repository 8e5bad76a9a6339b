"""One run, as a study or as the final one."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from tests.conftest import short
from tests.training.made import tiny
from training import run as running
from training.dataset import Dataset
from training.experiments import Experiment, find
from training.network import BlockNet
from training.record import Record, Stage
from training.run import Plan, begin, build_network, finished, recorded, run, run_and_keep
from training.splits import Splits, split
from training.trainer import Fit, Labelled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Two hundred pictures, and no two alike."""
    return tiny(per_class=20)


@pytest.fixture(scope="module")
def parts(images: Dataset) -> Splits:
    return split(images, 0)


def plan(
    images: Dataset,
    parts: Splits,
    stage: Stage = "study",
    *,
    seed: int = 0,
    experiment: Experiment | None = None,
) -> Plan:
    return Plan(experiment or short(find("batchnorm-2"), 1), images, parts, seed, stage, CPU)


@pytest.fixture(scope="module")
def study(images: Dataset, parts: Splits) -> tuple[BlockNet, Record]:
    return run(plan(images, parts))


@pytest.fixture(scope="module")
def final(images: Dataset, parts: Splits) -> tuple[BlockNet, Record]:
    return run(plan(images, parts, "final"))


def keys(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("stage", ["study", "final"])
def test_what_a_run_uses_is_disjoint_and_everything(
    stage: Stage, images: Dataset, parts: Splits
) -> None:
    used = plan(images, parts, stage).indices
    positions = [position for indices in used.values() for position in indices.tolist()]
    assert sorted(positions) == list(range(len(images)))


def test_a_study_trains_on_train_and_watches_validation(images: Dataset, parts: Splits) -> None:
    used = plan(images, parts, "study").indices
    assert {name: tuple(indices) for name, indices in used.items()} == {
        "train": parts.train,
        "validation": parts.validation,
        "test": parts.test,
    }


def test_the_final_run_trains_on_train_and_validation(images: Dataset, parts: Splits) -> None:
    used = plan(images, parts, "final").indices
    assert set(used) == {"train", "test"}
    assert set(used["train"].tolist()) == {*parts.train, *parts.validation}


def test_the_test_images_are_the_same_in_study_and_final(images: Dataset, parts: Splits) -> None:
    study, final = (plan(images, parts, stage).indices["test"] for stage in ("study", "final"))
    assert study.tolist() == final.tolist()


@pytest.mark.parametrize("stage", ["study", "final"])
def test_no_test_image_ever_reaches_the_training(
    stage: Stage, images: Dataset, parts: Splits
) -> None:
    given: list[Tensor] = []
    fit = running.fit

    def watch(
        network: BlockNet,
        training: Labelled,
        validation: Labelled | None,
        *rest: object,
        **more: object,
    ) -> Fit:
        given.extend([training.images, *([validation.images] if validation else [])])
        return fit(network, training, validation, *rest, **more)  # type: ignore[arg-type]  # as they came

    with patch.object(running, "fit", watch):
        run(plan(images, parts, stage))
    held_out = keys(images.images[parts.indices("test")])
    assert [keys(part) & held_out for part in given] == [set()] * len(given)
    assert len(keys(torch.cat(given))) == len(images) - len(held_out)


def test_the_final_run_starts_afresh(
    images: Dataset, parts: Splits, study: tuple[BlockNet, Record], final: tuple[BlockNet, Record]
) -> None:
    """Nothing of a study's network is in it: with a study before it, it learns the same."""
    _, after = run(plan(images, parts, "final"))
    assert study[1].status == "finished"
    assert [one.train_loss for one in after.curves] == [one.train_loss for one in final[1].curves]


def test_the_same_seed_gives_the_same_losses_and_results(
    images: Dataset, parts: Splits, study: tuple[BlockNet, Record]
) -> None:
    _, again = run(plan(images, parts))
    first = study[1]
    keep = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    assert [[getattr(e, name) for name in keep] for e in again.curves] == [
        [getattr(e, name) for name in keep] for e in first.curves
    ]
    assert (again.test, again.run_id) == (first.test, first.run_id)


def test_another_seed_gives_other_losses_and_another_name(
    images: Dataset, parts: Splits, study: tuple[BlockNet, Record]
) -> None:
    _, other = run(plan(images, parts, seed=1))
    assert other.curves[0].train_loss != study[1].curves[0].train_loss
    assert other.run_id != study[1].run_id
    assert other.group_id == study[1].group_id


def test_a_record_says_what_was_asked(
    images: Dataset, parts: Splits, study: tuple[BlockNet, Record]
) -> None:
    made = study[1]
    assert (made.experiment, made.stage, made.status) == ("batchnorm-2", "study", "finished")
    assert made.dataset.fingerprint == images.fingerprint
    assert {name: ref.count for name, ref in made.dataset.splits.items()} == {
        "train": 140,
        "validation": 30,
        "test": 30,
    }
    assert (made.seeds.split, made.seeds.init) == (parts.seed, 0)
    assert made.published == find("batchnorm-2").published


def test_a_record_says_what_came_of_it(study: tuple[BlockNet, Record]) -> None:
    made = study[1]
    assert made.test
    assert made.timing
    assert made.diagnostics
    assert made.test.count == 30
    assert len(made.curves) == 1
    assert made.timing.train > 0


def test_a_final_record_has_no_validation(final: tuple[BlockNet, Record]) -> None:
    assert set(final[1].dataset.splits) == {"train", "test"}
    assert final[1].validation_accuracy is None


def test_auto_is_made_definite_in_the_record(images: Dataset, parts: Splits) -> None:
    assert begin(plan(images, parts, experiment=find("none-2"))).config.precision != "auto"


def test_a_run_counts_as_failed_until_it_has_come_to_something(
    images: Dataset, parts: Splits
) -> None:
    assert begin(plan(images, parts)).status == "failed"


def test_a_run_that_does_not_learn_is_recorded_as_collapsed(images: Dataset, parts: Splits) -> None:
    experiment = short(find("none-2"), 1)
    still = experiment.model_copy(
        update={"config": experiment.config.model_copy(update={"learning_rate": 0.0})}
    )
    _, made = run(plan(images, parts, experiment=still))
    assert made.status == "collapsed"


def test_steps_are_counted_with_the_uneven_rest(images: Dataset, parts: Splits) -> None:
    assert plan(images, parts).steps == 9  # 140 images in batches of 16
    assert plan(images, parts, "final").steps == 11


def test_every_step_is_reported(images: Dataset, parts: Splits) -> None:
    steps: list[int] = []
    wanted = plan(images, parts)
    run(wanted, on_step=lambda: steps.append(1))
    assert len(steps) == wanted.steps


def test_a_seed_draws_the_weights_and_leaves_the_callers_random_state() -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network(find("none-2"), 10, seed) for seed in (0, 0, 1))
    assert torch.equal(first.output.weight, again.output.weight)
    assert not torch.equal(first.output.weight, other.output.weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, images: Dataset, parts: Splits
) -> tuple[Path, BlockNet]:
    root = tmp_path_factory.mktemp("kept")
    network, _ = run_and_keep(plan(images, parts), root / "experiments", root / "checkpoints")
    return root, network


def test_a_run_that_was_kept_is_found_again(
    kept: tuple[Path, BlockNet], images: Dataset, parts: Splits
) -> None:
    root, network = kept
    found = finished(plan(images, parts), root / "experiments", root / "checkpoints")
    assert found
    assert torch.equal(found[0].eval()(images.images[:8]), network.eval()(images.images[:8]))


def test_a_run_with_another_seed_is_not_found(
    kept: tuple[Path, BlockNet], images: Dataset, parts: Splits
) -> None:
    other = plan(images, parts, seed=1)
    assert finished(other, kept[0] / "experiments", kept[0] / "checkpoints") is None


def test_a_run_on_another_split_is_not_taken_for_this_one(
    kept: tuple[Path, BlockNet], images: Dataset
) -> None:
    """Its network has been trained on what is now held out."""
    other = plan(images, split(images, seed=1))
    assert finished(other, kept[0] / "experiments", kept[0] / "checkpoints") is None
    assert recorded(other, kept[0] / "experiments") is None


def test_without_its_network_a_run_is_recorded_but_not_finished(
    kept: tuple[Path, BlockNet], images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    wanted = plan(images, parts)
    assert finished(wanted, kept[0] / "experiments", tmp_path) is None
    assert recorded(wanted, kept[0] / "experiments")


def test_a_failed_run_is_not_taken_for_a_finished_one(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    wanted = plan(images, parts)
    running.record.write(begin(wanted), tmp_path)
    assert recorded(wanted, tmp_path) is None

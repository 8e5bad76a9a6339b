"""Tests of training towards a teacher's outputs, and that no teacher has seen a test image."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.conftest import short
from tests.support.factories import network, tiny
from tests.training.trainer.scripted import labelled_images
from training.data.dataset import Dataset
from training.data.splits import Splits, split
from training.experiments.catalogue import find
from training.experiments.config import Config, Distillation, Experiment
from training.experiments.record import Stage, read_all
from training.trainer.run import LeakageError, RunSpec, run
from training.trainer.train_step import Step
from training.workflows.workspace import Workspace

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TEACHER = short(find("batchnorm-2"), 1)


def taught(teacher: Experiment = TEACHER) -> Experiment:
    student = short(find("none-2"), 1)
    distillation = Distillation(teacher=teacher)
    config = student.config.model_copy(update={"distillation": distillation})
    return student.model_copy(update={"name": "student", "config": config})


@pytest.fixture(scope="module")
def images() -> Dataset:
    return tiny(per_class=8)


@pytest.fixture(scope="module")
def parts(images: Dataset) -> Splits:
    return split(images, 0)


def spec(images: Dataset, parts: Splits, stage: Stage = "study") -> RunSpec:
    return RunSpec(taught(), images, parts, 0, stage, CPU)


def test_the_loss_weighs_the_labels_and_the_teachers_softened_outputs() -> None:
    data = labelled_images(12)
    distillation = Distillation(teacher=TEACHER, weight=0.7, temperature=3.0)
    config = Config(batch_size=12, precision="fp32", distillation=distillation)
    student, teacher = network(), network(conv_blocks=3, batch_norm=True, seed=1).eval()
    with torch.no_grad():
        logits, outputs = student(data.images), teacher(data.images)
    labels = functional.cross_entropy(logits, data.labels)
    teaching = functional.kl_div(
        (logits / 3).log_softmax(1), (outputs / 3).softmax(1), reduction="batchmean"
    )
    entropy = torch.special.entr((outputs / 3).softmax(1)).sum(1).mean()
    step = Step(student, data, config, "fp32", None, torch.Generator(), teacher)
    step(torch.arange(12))
    expected = 0.3 * labels + 0.7 * 9 * (teaching + entropy)
    assert step.running_metrics[0].item() / 12 == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_does_not_change_the_teacher() -> None:
    data, teacher = labelled_images(12), network(batch_norm=True, seed=1).eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    config = Config(batch_size=12, precision="fp32", distillation=Distillation(teacher=TEACHER))
    Step(network(), data, config, "fp32", None, torch.Generator(), teacher)(torch.arange(12))
    assert all(torch.equal(one, before[name]) for name, one in teacher.state_dict().items())


@pytest.mark.parametrize("stage", ["study", "final"])
def test_no_teacher_is_trained_on_an_image_that_its_student_is_tested_on(
    stage: Stage, images: Dataset, parts: Splits
) -> None:
    student = spec(images, parts, stage)
    teacher = student.teacher
    assert teacher
    seen = {*teacher.indices["train"].tolist(), *teacher.indices["validation"].tolist()}
    assert not seen & {*student.indices["test"].tolist()}
    assert teacher.split_refs["test"] == student.split_refs["test"]


def test_a_final_runs_teacher_has_not_trained_on_the_validation_images(
    images: Dataset, parts: Splits
) -> None:
    teacher = spec(images, parts, "final").teacher
    assert teacher
    assert {*teacher.indices["train"].tolist()}.isdisjoint(parts.validation)


def test_a_teacher_of_another_split_is_refused(images: Dataset, parts: Splits) -> None:
    elsewhere = RunSpec(TEACHER, images, split(images, seed=1), 0, "study", CPU)
    with pytest.raises(LeakageError, match="train a teacher on the same split"):
        run(spec(images, parts), teacher=run(elsewhere))


def test_the_teacher_is_trained_once_and_named_in_the_records_of_its_students(
    images: Dataset, parts: Splits, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, CPU)
    student = spec(images, parts)
    workspace.train_or_load(student)
    workspace.train_or_load(replace(student, stage="final"))
    made = {one.run_id: one for one in read_all(workspace.experiments)}
    assert student.teacher
    teacher = student.teacher.run_id
    assert set(made) == {teacher, student.run_id, replace(student, stage="final").run_id}
    assert {one.teacher for name, one in made.items() if name != teacher} == {teacher}
    assert made[teacher].teacher is None


def test_a_student_of_another_teacher_is_another_experiment(images: Dataset, parts: Splits) -> None:
    longer = replace(spec(images, parts), experiment=taught(TEACHER.with_epochs(9)))
    assert longer.group_id != spec(images, parts).group_id


def test_fewer_epochs_shorten_the_teacher_too() -> None:
    made = find("distilled-3").with_epochs(2).config
    assert made.epochs == 2
    assert made.distillation
    assert made.distillation.teacher.config.epochs == 2

"""Runs one experiment with a data set and seeds; returns the trained network and its record.

A study trains on 70 % of the images and validates on 15 %. A final run trains a new network on
both parts. Each is tested once, on the other 15 %. Writes no files.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
from torch import Tensor

from training.data.dataset import Dataset
from training.data.splits import Indices, Splits, indices_sha256
from training.data.tensors import LabelledTensors
from training.experiments import environment
from training.experiments.config import Experiment, group_id
from training.experiments.record import DatasetRef, Epoch, Record, Seeds, SplitRef, Stage
from training.models.calibration import describe, fit_temperature
from training.models.device import pick_precision
from training.models.network import Network
from training.trainer.build import build_network
from training.trainer.diagnostics import chance_loss, collapsed, diagnose
from training.trainer.evaluation import predict, score
from training.trainer.fit import fit
from training.trainer.resume import Resume


class LeakageError(RuntimeError):
    """Raised if a teacher may have seen the student's test images; the message names both runs."""


@dataclass(frozen=True)
class RunSpec:
    """Describes a run before it starts: its name, its settings and its images."""

    experiment: Experiment
    dataset: Dataset
    splits: Splits
    seed: int
    stage: Stage
    device: torch.device

    @property
    def resolved(self) -> Experiment:
        """The experiment with `auto` replaced by this device's settings, as in the record."""
        config = self.experiment.config
        precision = pick_precision(config.precision, self.device)
        if precision == "bf16":  # from another machine's record; this CPU may lack it
            precision = pick_precision("auto", self.device)
        definite = {"precision": precision, "cuda_graph": self.device.type == "cuda"}
        update = {"config": config.model_copy(update=definite)}
        return self.experiment.model_copy(update=update)

    @property
    def group_id(self) -> str:
        """Hash of the settings and the data, equal for runs that differ in seeds alone."""
        return group_id(self.resolved, self.dataset.fingerprint)

    @property
    def run_id(self) -> str:
        """Unique name of the run, of its record's file and of its checkpoint."""
        split = f"-split{self.splits.seed}" if self.splits.seed else ""
        return f"{self.experiment.name}-{self.stage}-seed{self.seed}{split}-{self.group_id[:8]}"

    @property
    def indices(self) -> dict[str, Indices]:
        """Positions of the images of each part: train, validation (studies only) and test."""
        splits = self.splits
        test = {"test": splits.indices("test")}
        if self.stage == "final":
            return {"train": splits.indices("train", "validation"), **test}
        return {
            "train": splits.indices("train"),
            "validation": splits.indices("validation"),
            **test,
        }

    @property
    def split_refs(self) -> dict[str, SplitRef]:
        """Size and hash of each part, as in the record."""
        return {
            name: SplitRef(count=len(indices), indices_sha256=indices_sha256(indices))
            for name, indices in self.indices.items()
        }

    def part(self, name: str) -> LabelledTensors:
        """Return the images and labels of one part, on the device."""
        indices, images = self.indices[name], self.dataset
        return LabelledTensors(
            images.images[indices].to(self.device), images.labels[indices].to(self.device)
        )

    @property
    def teacher(self) -> "RunSpec | None":
        """The run that teaches this one, or None.

        It is always a study, on the same split. So no teacher has seen a test image, and a final
        run is taught by a network that has not seen its validation images either.
        """
        taught = self.experiment.config.distillation
        return replace(self, experiment=taught.teacher, stage="study") if taught else None

    @property
    def steps(self) -> int:
        """Number of training steps, and of batches that a frozen body sees before."""
        config = self.experiment.config
        seen = sum(map(len, self.indices.values())) if self.experiment.variant.frozen else 0
        batches = config.epochs * -(-len(self.indices["train"]) // config.batch_size)
        return batches + seen // config.batch_size


def run(
    spec: RunSpec,
    *,
    temperature: float | None = None,
    teacher: tuple[Network, Record] | None = None,
    stop_if_collapsed: bool = False,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    resume: Resume | None = None,
) -> tuple[Network, Record]:
    """Train a network, test it once and calibrate it.

    Args:
        spec: what to run.
        temperature: temperature of the study, for a final run, which has no validation images. A
            study fits its own.
        teacher: the network and the record of `spec.teacher`, if it has one.
        stop_if_collapsed: stop a run early if it does not learn.
        on_step: called after each training step, and each batch that a frozen body has seen.
        on_epoch: called with the metrics of each epoch.
        resume: where the state is saved after each epoch, and found if the run was stopped.

    Returns:
        The network, calibrated, in evaluation mode on the device of `spec`; and the record, with
        losses from before calibration.

    Raises:
        DivergedError: the training loss became infinite or not a number.

    """
    started = time.perf_counter()
    initial = initial_record(spec)
    if teacher:
        initial = initial.model_copy(update={"teacher": _check_teacher(teacher[1], initial)})
    experiment, dataset = spec.resolved, spec.dataset
    parts = {name: spec.part(name) for name in spec.indices}
    seen = 0

    def on_images(count: int) -> None:
        nonlocal seen
        before, seen = seen, seen + count
        for _ in range(
            seen // experiment.config.batch_size - before // experiment.config.batch_size
        ):
            on_step()

    network = build_network(
        experiment, len(dataset.classes), spec.seed, parts["train"].images, on_images
    )
    network.to(spec.device)
    for name, part in parts.items():  # a frozen body sees each image once
        parts[name] = LabelledTensors(network.recall(part.images, on_images), part.labels)
    loading = time.perf_counter() - started
    fitted = fit(
        network,
        parts["train"],
        parts.get("validation"),
        experiment.config,
        initial.seeds,
        augmentation=experiment.variant.augmentation,
        teacher=teacher[0] if teacher else None,
        stop_if_collapsed=stop_if_collapsed,
        on_step=on_step,
        on_epoch=on_epoch,
        resume=resume,
    )
    network.finish()
    smoothing = experiment.config.label_smoothing
    chance = chance_loss(parts["train"], len(dataset.classes), smoothing)
    logits = predict(network, parts["test"])
    outcome: dict[str, object] = {
        "status": "collapsed" if collapsed(fitted.curves, chance) else "finished",
        "timing": fitted.timing.model_copy(update={"setup": fitted.timing.setup + loading}),
        "curves": fitted.curves,
        "test": score(logits, parts["test"].labels),
        "diagnostics": diagnose(network, parts.get("validation", parts["train"])),
    }
    if validation := parts.get("validation"):
        validated = predict(network, validation)
        outcome["validation"] = score(validated, validation.labels)
        temperature = fit_temperature(validated, validation.labels)
    made = initial.model_copy(update=outcome)
    if temperature is not None:
        made = calibrate(network, made, logits, parts["test"].labels, temperature)
    return network, made


def _check_teacher(teacher: Record, student: Record) -> str:
    """Return the id of the teacher's run.

    Raises:
        LeakageError: the teacher was trained on other data, or on another split of it.

    """
    mine, theirs = student.dataset, teacher.dataset
    if mine.fingerprint != theirs.fingerprint or mine.splits["test"] != theirs.splits["test"]:
        raise LeakageError(
            f"{teacher.run_id} may have been trained on the test images of {student.run_id}: "
            "train a teacher on the same split"
        )
    return teacher.run_id


def initial_record(spec: RunSpec) -> Record:
    """Return the record of a run without results; its status is `failed` until there are any."""
    experiment, dataset = spec.resolved, spec.dataset
    return Record(
        run_id=spec.run_id,
        experiment=experiment.name,
        published_name=experiment.published_name,
        regularizer=experiment.regularizer,
        group_id=spec.group_id,
        status="failed",
        stage=spec.stage,
        started_at=datetime.now(UTC),
        variant=experiment.variant,
        config=experiment.config,
        seeds=Seeds(split=spec.splits.seed, init=spec.seed, order=spec.seed, augment=spec.seed),
        dataset=DatasetRef(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            splits=spec.split_refs,
            classes=dataset.classes,
        ),
        environment=environment.describe(spec.device),
        published=experiment.published if dataset.is_cifar10 else None,
    )


def calibrate(
    network: Network, made: Record, logits: Tensor, labels: Tensor, temperature: float
) -> Record:
    """Set the network's temperature, and return the record with the effect on the test images.

    Args:
        network: changed in place.
        made: record of its run. Its losses stay those before calibration.
        logits: test logits before calibration, fp32 [N, classes].
        labels: test labels, int64 [N].
        temperature: divisor of the logits.

    """
    network.calibrate(temperature)
    return made.model_copy(update={"calibration": describe(logits, labels, temperature)})

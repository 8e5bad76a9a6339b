"""Builds small data sets, networks, records and bundles for tests."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.images import KINDS, striped_image
from training.bundle.manifest import MANIFEST, dump, read_manifest, reference
from training.data.dataset import Dataset
from training.experiments.catalogue import find
from training.experiments.config import group_id
from training.experiments.record import (
    DatasetRef,
    Environment,
    Epoch,
    Evaluation,
    Record,
    Seeds,
    SplitRef,
    Stage,
    Status,
    Timing,
    wilson95,
)
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet

START_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def tiny(per_class: int = 10, kinds: int = 10, name: str = "tiny", start: int = 0) -> Dataset:
    """Generate a data set in memory, with the classes in rotation as in CIFAR-10's batches."""
    pixels = [striped_image(kind, start + n) for n in range(per_class) for kind in range(kinds)]
    return labelled([kind for _ in range(per_class) for kind in range(kinds)], pixels, name)


def labelled(labels: list[int], pixels: list[Any] | None = None, name: str = "made") -> Dataset:
    """Return a data set with these labels; the images are black if not given."""
    count = len(labels)
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    if pixels is not None:
        images = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())
    classes = tuple(f"kind{n}" for n in range(max(labels) + 1))
    if len(classes) <= len(KINDS):
        classes = KINDS[: len(classes)]
    ids = tuple(f"{name}-{n}" for n in range(count))
    return Dataset(name, classes, images, torch.tensor(labels), ids)


def network(
    conv_blocks: int = 2,
    *,
    classes: int = 10,
    batch_norm: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> BlockNet:
    """Build a network with random weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        described = {"classes": classes, "conv_blocks": conv_blocks, "batch_norm": batch_norm}
        return BlockNet(Architecture.model_validate({**described, "dropout": dropout}))


def seeds(number: int = 0) -> Seeds:
    """Return the same seed for every random draw."""
    return Seeds(split=0, init=number, order=number, augment=number)


def epoch(number: int = 1, train_loss: float = 1.0, validation: float | None = 0.5) -> Epoch:
    """Return the metrics of one epoch."""
    return Epoch(
        epoch=number,
        train_loss=train_loss,
        train_accuracy=0.5,
        validation_loss=None if validation is None else 1.5,
        validation_accuracy=validation,
        seconds=1.0,
    )


def made_record(
    experiment: str = "batchnorm-3",
    *,
    validation: float | None = 0.8,
    test: float = 0.7,
    seconds: float = 60.0,
    seed: int = 0,
    stage: Stage = "study",
    status: Status = "finished",
    fingerprint: str = "f" * 64,
    hour: int = 0,
    **update: object,
) -> Record:
    """Return the record of a run with these results."""
    found = find(experiment)
    correct = round(test * 1000)
    record = Record(
        run_id=f"{experiment}-{stage}-seed{seed}",
        experiment=experiment,
        published_name=found.published_name,
        regularizer=found.regularizer,
        group_id=group_id(found, fingerprint),
        status=status,
        stage=stage,
        started_at=START_TIME + timedelta(hours=hour),
        variant=found.variant,
        config=found.with_epochs(2).config,
        seeds=seeds(seed),
        dataset=DatasetRef(
            name="tiny",
            fingerprint=fingerprint,
            splits={"test": SplitRef(count=1000, indices_sha256="a" * 64)},
        ),
        environment=Environment(
            git_commit=None,
            python="3.11",
            torch="2",
            cuda=None,
            cpu_model="some",
            threads=2,
            gpu_name=None,
            concurrent_runs=1,
        ),
        timing=Timing(
            setup=1,
            warmup=1,
            train=seconds,
            evaluate=1,
            images_per_second=100,
            peak_memory_bytes=10**9,
        ),
        curves=(epoch(1), epoch(2, validation=validation)),
        test=Evaluation(
            count=1000,
            loss=0.9,
            accuracy=test,
            wilson95=wilson95(correct, 1000),
            confusion_matrix=((correct, 1000 - correct), (0, 0)),
        ),
        published=found.published,
    )
    return record.model_copy(update=update)


def linked_copy(bundle: Path, target: Path) -> Path:
    """Copy a bundle by hard links; replace its files instead of writing into them."""
    shutil.copytree(bundle, target, copy_function=os.link)
    return target


def replace_file(file: Path, content: bytes) -> None:
    """Replace a file of a linked copy without changing the original."""
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def accept(bundle: Path, *names: str) -> None:
    """Update the checksums of these files in the manifest."""
    manifest = read_manifest(bundle)
    files = {**manifest.files, **{name: reference(bundle / name) for name in names}}
    (bundle / MANIFEST).unlink()
    dump(manifest.model_copy(update={"files": files}), bundle / MANIFEST)

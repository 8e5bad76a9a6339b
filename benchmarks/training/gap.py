"""Measures why `batchnorm-3` is below the course report, by changing one thing at a time.

    python -m benchmarks.training.gap --data cifar10-jpeg.tar.gz

Each variation is a study like any other, with a record in `experiments/gap/`; those that have one
are not run again, and a stopped one continues after its last finished epoch. `python -m training
report` writes the table.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from training.data.dataset import Dataset, load
from training.data.splits import split
from training.experiments.catalogue import find
from training.experiments.config import REPORT, Experiment, Policy
from training.models.device import pick_device
from training.trainer import train_step
from training.trainer.run import RunSpec, run
from training.trainer.run_store import RunStore
from training.workflows import progress
from training.workflows.progress import print_line

app = typer.Typer(add_completion=False)

BASE = "batchnorm-3"
QUALITY = 75
"""JPEG quality of the images of `cifar10-jpeg`, with which they are encoded again."""


@dataclass(frozen=True)
class Variation:
    """One change of `batchnorm-3`: of its settings, its images or its augmentation."""

    name: str
    config: dict[str, object] = field(default_factory=dict)
    variant: dict[str, object] = field(default_factory=dict)
    encodings: int = 0
    torchvision: bool = False

    def experiment(self) -> Experiment:
        """Return the experiment with this change, under a name of its own."""
        base = find(BASE)
        update = {
            "name": f"{BASE}-{self.name}",
            "config": base.config.model_copy(update=self.config),
            "variant": base.variant.model_copy(update=self.variant),
            "published": None,
        }
        return base.model_copy(update=update)


VARIATIONS = (
    Variation("as-recorded"),
    Variation("fp32", config={"precision": "fp32"}),
    Variation("no-norm-decay", config={"decay_norms": False}),
    Variation("encoded-2", encodings=1),
    Variation("encoded-3", encodings=2),
    Variation("our-augmentation", variant={"augmentation": True}),
    Variation("torchvision-augmentation", variant={"augmentation": True}, torchvision=True),
)


def encode_again(images: Dataset, times: int) -> Dataset:
    """Encode all images as JPEG and decode them, `times` times, with the quality that they have."""
    if not times:
        return images
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    encoded = np.stack([_encode(one, times) for one in pixels]).transpose(0, 3, 1, 2)
    return Dataset(
        name=f"{images.name}-{times + 1}",
        classes=images.classes,
        images=torch.from_numpy(np.ascontiguousarray(encoded)),
        labels=images.labels,
        ids=images.ids,
    )


def _encode(pixels: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY)
        pixels = np.asarray(Image.open(stream).convert("RGB"))
    return pixels


@contextmanager
def torchvision_augmentation() -> Iterator[None]:
    """Use torchvision's transforms to augment, image by image, as the report does."""
    from torchvision.transforms import v2  # noqa: PLC0415 - takes seconds; one variation needs it

    left, right, top, bottom = REPORT.padding
    crop = v2.RandomCrop(32, padding=[left, top, right, bottom])
    transform = v2.Compose([v2.RandomHorizontalFlip(), crop])

    def augment(images: Tensor, _generator: torch.Generator, _policy: Policy) -> Tensor:
        return torch.stack([transform(image) for image in images])

    with patch.object(train_step, "augment", augment):
        yield


@contextmanager
def augmentation_of(variation: Variation) -> Iterator[None]:
    """Use the augmentation of a variation."""
    if variation.torchvision:
        with torchvision_augmentation():
            yield
    else:
        yield


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="CIFAR-10, or an image folder.")],
    root: Annotated[Path, typer.Option(help="Folder with experiments/ and checkpoints/.")] = Path(),
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Seed; repeat.")] = None,
    names: Annotated[list[str] | None, typer.Option("--name", help="Variation; repeat.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Default: those of batchnorm-3.")] = None,
) -> None:
    """Run the variations that have no record yet, with each seed."""
    with progress.track(f"reading {data.name}") as on_image:
        original = load(data, on_image=on_image)
    store = RunStore(root / "experiments" / "gap", root / "checkpoints")
    chosen = [one for one in VARIATIONS if names is None or one.name in names]
    for seed in seeds or [0]:
        train_all(chosen, original, store, seed, device, epochs)


def train_all(
    chosen: Sequence[Variation],
    original: Dataset,
    store: RunStore,
    seed: int,
    device: str,
    epochs: int | None,
) -> None:
    """Train the variations that have no record, with one seed."""
    for variation in chosen:
        images = encode_again(original, variation.encodings)
        splits = split(images, 0)  # by labels alone, so the same for all encodings
        experiment = variation.experiment().with_epochs(epochs)
        spec = RunSpec(experiment, images, splits, seed, "study", pick_device(device))
        if store.load_record(spec):
            print_line(f"{spec.run_id}: already done")
            continue
        print_line(spec.run_id)
        with augmentation_of(variation), progress.track(spec.run_id, spec.steps) as advance:
            made = run(
                spec, on_step=advance, on_epoch=progress.show_epoch, resume=store.resume(spec)
            )
        store.save(*made)


if __name__ == "__main__":
    app()

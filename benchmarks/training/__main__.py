"""Compares training with the plain loop of the course report: speed, and accuracy.

    python -m benchmarks.training --data cifar10-jpeg.tar.gz
    python -m benchmarks.training --data cifar10-jpeg.tar.gz --accuracy

The plain loop is that of the report: a DataLoader without workers, PIL images transformed one by
one, fp32, Adam, batches of 64. Both loops train the same network on the same images in one process.
They are measured alternately, so that other work on the machine affects both.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.flop_counter import FlopCounterMode

from training.data.dataset import Dataset, load
from training.data.splits import Indices, Splits, split
from training.data.tensors import LabelledTensors
from training.experiments.aggregate import RunStats
from training.experiments.catalogue import EIGHT, find
from training.experiments.config import REPORT, Experiment
from training.experiments.environment import describe
from training.models.device import pick_device, pick_precision, synchronize
from training.models.network import Network
from training.models.precision import Precision, PrecisionChoice
from training.trainer.build import build_network
from training.trainer.evaluation import evaluate
from training.trainer.run import RunSpec, run
from training.trainer.train_step import Step, step_for
from training.workflows import progress

app = typer.Typer(add_completion=False)

COUNTED = 8
"""Images over which operations are counted."""
PEAK_SIDE, PEAK_ROUNDS = 2048, 5
"""Side of the matrices whose product is the machine's peak, and how often it is measured."""


class PILDataset(TorchDataset[tuple[Tensor, int]]):
    """PIL images, each transformed when it is read, as in torchvision's data sets."""

    def __init__(self, data: LabelledTensors, *, augmentation: bool) -> None:
        from torchvision import transforms  # noqa: PLC0415 - takes seconds; the plain loop needs it

        pixels = data.images.permute(0, 2, 3, 1).numpy()
        self._images = [Image.fromarray(np.ascontiguousarray(one)) for one in pixels]
        self._labels = data.labels.tolist()
        steps: list[Callable[..., object]] = [transforms.ToTensor()]
        if augmentation:
            left, right, top, bottom = REPORT.padding
            crop = transforms.RandomCrop(32, padding=[left, top, right, bottom])
            steps = [transforms.RandomHorizontalFlip(), crop, *steps]
        self._transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


class PlainLoop:
    """The training loop of the report."""

    def __init__(self, experiment: Experiment, network: Network, data: LabelledTensors) -> None:
        config = experiment.config
        self.network = network
        self._device = next(network.parameters()).device
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._loss = nn.CrossEntropyLoss()
        images = PILDataset(data, augmentation=experiment.variant.augmentation)
        self._loader = DataLoader(images, batch_size=config.batch_size, shuffle=True)

    def epoch(self) -> Iterator[int]:
        """Train once on every image; yields the length of each batch."""
        self.network.train()
        for images, labels in self._loader:
            inputs, targets = images.to(self._device), labels.to(self._device)
            # ToTensor scales to [0, 1], but this network scales its input itself, from bytes.
            loss = self._loss(self.network(inputs * 255), targets)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            yield len(targets)


class FastLoop:
    """The training loop of this project, with the step of `training.trainer.fit.fit`."""

    def __init__(self, experiment: Experiment, network: Network, data: LabelledTensors) -> None:
        device = data.images.device
        precision = pick_precision(experiment.config.precision, device)
        config = experiment.config.model_copy(update={"cuda_graph": device.type == "cuda"})
        policy = config.policy if experiment.variant.augmentation else None
        self.network = network.to(memory_format=torch.channels_last)
        self.network.train()
        self._size, self._count = config.batch_size, len(data)
        generator = torch.Generator(device).manual_seed(0)
        self._step: Step = step_for(config)(
            self.network, data, config, precision, policy, generator
        )
        rest = self._count % self._size
        self._step.warm_up([self._size, *([rest] if rest else [])])

    def epoch(self) -> Iterator[int]:
        """Train once on every image; yields the length of each batch."""
        self.network.train()
        for batch in torch.randperm(self._count).to(self._step.device).split(self._size):
            self._step(batch)
            yield len(batch)


Loop = PlainLoop | FastLoop
Kind = type[PlainLoop] | type[FastLoop]


def rate(batches: Iterator[int], device: torch.device, steps: int) -> float:
    """Measure images/s over `steps` steps; the device is synchronised before and after."""
    synchronize(device)
    started = time.perf_counter()
    images = sum(itertools.islice(batches, steps))
    synchronize(device)
    return images / (time.perf_counter() - started)


def endless(loop: Loop) -> Iterator[int]:
    """Run epochs without end; yields the length of each batch."""
    while True:
        yield from loop.epoch()


def make(
    kind: Kind,
    name: str,
    seed: int,
    data: LabelledTensors,
    classes: int,
    precision: PrecisionChoice = "auto",
) -> Loop:
    """Build a loop over the data, with initial weights by the seed; `precision` is of ours."""
    torch.manual_seed(seed)
    experiment = find(name)
    config = experiment.config.model_copy(update={"precision": precision})
    experiment = experiment.model_copy(update={"config": config})
    network = build_network(experiment, classes, seed, data.images).to(data.images.device)
    host = LabelledTensors(data.images.cpu(), data.labels.cpu())
    return kind(experiment, network, host if kind is PlainLoop else data)


def flops_per_image(name: str, data: LabelledTensors, classes: int) -> float:
    """Count the floating-point operations of a forward and a backward pass, for one image."""
    network = build_network(find(name), classes, 0, data.images).to(data.images.device)
    images, labels = data.images[:COUNTED], data.labels[:COUNTED]
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(network(images), labels).backward()
    total: int = counter.get_total_flops()
    return total / COUNTED


def peak(device: torch.device, precision: Precision) -> float:
    """Measure the floating-point operations per second of a product of two large matrices."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = torch.randn(2, PEAK_SIDE, PEAK_SIDE, device=device).to(dtype)
    times = []
    for _ in range(PEAK_ROUNDS):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(one, other)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2 * PEAK_SIDE**3 / min(times)


def compare_speed(
    name: str,
    data: LabelledTensors,
    classes: int,
    steps: int,
    rounds: int,
    precision: PrecisionChoice = "auto",
) -> tuple[list[float], list[float]]:
    """Measure images/s of both loops in each round, alternately, after a warm-up."""
    device = data.images.device
    plain, ours = (
        endless(make(kind, name, 0, data, classes, precision)) for kind in (PlainLoop, FastLoop)
    )
    for batches in (plain, ours):
        rate(batches, device, 3)  # warm-up
    speeds: tuple[list[float], list[float]] = ([], [])
    with progress.track(f"timing {name}", 2 * rounds) as advance:
        for _ in range(rounds):
            for batches, found in zip((plain, ours), speeds, strict=True):
                found.append(rate(batches, device, steps))
                advance()
    return speeds


def compare_accuracy(
    name: str,
    data: LabelledTensors,
    held_out: LabelledTensors,
    classes: int,
    epochs: int,
    seeds: int,
) -> dict[str, list[float]]:
    """Train both loops with each seed, and return their validation accuracies by loop."""
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    kinds: tuple[tuple[str, Kind], ...] = (("plain", PlainLoop), ("ours", FastLoop))
    with progress.track(f"accuracy of {name}", 2 * seeds * epochs) as advance:
        for seed in range(seeds):
            for label, kind in kinds:
                loop = make(kind, name, seed, data, classes)
                for _ in range(epochs):
                    for _batch in loop.epoch():
                        pass
                    advance()
                found[label].append(evaluate(loop.network, held_out).accuracy)
    return found


def time_sweep(images: Dataset, splits: Splits, device: torch.device) -> float:
    """Measure the seconds that the eight runs take one after the other, with their set-up."""
    started = time.perf_counter()
    for experiment in EIGHT:
        run(RunSpec(experiment, images, splits, 0, "study", device))
    return time.perf_counter() - started


def part(images: Dataset, positions: Indices, device: torch.device) -> LabelledTensors:
    """Copy some images of a data set to the device."""
    return LabelledTensors(images.images[positions].to(device), images.labels[positions].to(device))


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Image folder, or an archive of one.")],
    names: Annotated[list[str] | None, typer.Option("--name", help="Experiment; repeat.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
    steps: Annotated[int, typer.Option(help="Steps of each round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds; each measures both loops.")] = 5,
    accuracy: Annotated[bool, typer.Option("--accuracy", help="Also compare accuracies.")] = False,
    count: Annotated[int, typer.Option(help="Training images for --accuracy.")] = 10_000,
    epochs: Annotated[int, typer.Option(help="Epochs for --accuracy.")] = 3,
    seeds: Annotated[int, typer.Option(help="Seeds for --accuracy.")] = 3,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Precision of our loop: auto, fp32 or bf16.")
    ] = "auto",
    sweep: Annotated[
        bool, typer.Option("--sweep", "--suite", help="Also time the eight runs in full.")
    ] = False,
) -> None:
    """Measure both loops alternately, and print their speeds and the ratio."""
    chosen = pick_device(device)
    console = Console(width=100)
    with progress.track(f"reading {data.name}") as on_image:
        images = load(data, on_image=on_image)
    splits = split(images, 0)
    training = part(images, splits.indices("train"), chosen)
    classes = len(images.classes)
    environment, ours_at = describe(chosen), pick_precision(precision, chosen)
    fastest = peak(chosen, ours_at)
    table = Table(
        title=f"Training speed, images/s, medians of {rounds} rounds of {steps} steps of 64\n"
        f"{environment.machine}, torch {environment.torch}; ours at {ours_at}; "
        "set-up and warm-up left out, synchronised\n"
        f"peak of a product of matrices at {ours_at}: {fastest / 1e9:.0f} GFLOP/s"
    )
    for column in ("experiment", "plain loop", "ours", "ratio", "ratios of the rounds", "of peak"):
        table.add_column(column, justify="left" if column == "experiment" else "right")
    for name in names or ["batchnorm-3", "augmentation-3"]:
        plain, ours = compare_speed(name, training, classes, steps, rounds, ours_at)
        share = statistics.median(ours) * flops_per_image(name, training, classes) / fastest
        ratios = [b / a for a, b in zip(plain, ours, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(plain):.0f}",
            f"{statistics.median(ours):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{share:.0%}",
        )
    console.print(table)
    if accuracy:
        subset = part(images, splits.indices("train")[:: max(len(training) // count, 1)], chosen)
        held_out = part(images, splits.indices("validation"), chosen)
        name = (names or ["batchnorm-3"])[0]
        found = compare_accuracy(name, subset, held_out, classes, epochs, seeds)
        console.print(
            f"Validation accuracy of {name} after {epochs} epochs on {len(subset):,} images:"
        )
        for label, values in found.items():
            stats = RunStats.of(values)
            console.print(
                f"  {label:5}  {stats.mean:.4f} ± {stats.std or 0:.4f}  "
                f"({', '.join(f'{value:.4f}' for value in values)})"
            )
    if sweep:
        console.print(f"The eight runs in full: {time_sweep(images, splits, chosen):.1f} s")


if __name__ == "__main__":
    app()

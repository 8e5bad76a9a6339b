r"""Investigates why three blocks without batch norm sometimes never learn, by short runs.

    python -m benchmarks.training.collapse --data cifar10-jpeg.tar.gz
    python -m benchmarks.training.collapse --data cifar10-jpeg.tar.gz \
        --name dropout-3 --name augmentation-3
    python -m benchmarks.training.collapse

Each run changes one thing. The first two commands run what is missing, and save every trace in
`docs/collapse.json`; if stopped, they continue where they were. The third only prints the table and
plots the traces. A run ends when its loss shows that it learns.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import Tensor

from benchmarks.training.traces import (
    LEARNED,
    Trace,
    TrainingProbe,
    load_traces,
    plot_traces,
    save_traces,
    summarise,
)
from training.data.dataset import load
from training.data.splits import split
from training.data.tensors import LabelledTensors
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.experiments.environment import describe
from training.models.device import pick_device, pick_precision
from training.models.network import Network
from training.trainer.build import build_network
from training.trainer.diagnostics import diagnose, layer_weights
from training.trainer.train_step import step_for
from training.workflows.progress import print_line, track

app = typer.Typer(add_completion=False)

PROBE_INTERVAL = 20
"""Steps between two probes of the network."""

Change = Callable[[Experiment], Experiment]


def _config(**update: object) -> Change:
    return lambda one: one.model_copy(update={"config": one.config.model_copy(update=update)})


def _variant(**update: object) -> Change:
    return lambda one: one.model_copy(update={"variant": one.variant.model_copy(update=update)})


CHANGES: dict[str, Change] = {
    "as in the report": lambda one: one,
    "in fp32": _config(precision="fp32"),
    "weight decay 0": _config(weight_decay=0.0),
    "AdamW, same decay": _config(decay_decoupled=True),
    "He initialisation": _config(init="he"),
    "normalised inputs": _variant(normalised=True),
    "in bf16": _config(precision="bf16"),
}
"""The changes, one in each run; their names are stored in the traces."""


def run_trace(
    name: str, change: str, init: int, order: int, data: LabelledTensors, steps: int
) -> Trace:
    """Train for at most `steps` steps, and probe the network at each interval.

    `init` is the seed of the weights, `order` that of the order of the images.
    """
    experiment = CHANGES[change](find(name))
    device = data.images.device
    precision = pick_precision(experiment.config.precision, device)
    network = build_network(experiment, 10, init, data.images).to(device)
    network = network.to(memory_format=torch.channels_last).train()
    augmenting = torch.Generator(device).manual_seed(order)
    policy = experiment.config.policy if experiment.variant.augmentation else None
    step = step_for(experiment.config)(
        network, data, experiment.config, precision, policy, augmenting
    )
    size = experiment.config.batch_size
    torch.manual_seed(order)
    probes = [probe(network, data, experiment.config.weight_decay, 0, None)]
    for number, batch in enumerate(batches(len(data), size, order, steps), start=1):
        step(batch.to(device))
        if number % PROBE_INTERVAL == 0:
            loss = step.running_metrics[0].item() / (PROBE_INTERVAL * size)
            step.running_metrics.zero_()
            probes.append(probe(network, data, experiment.config.weight_decay, number, loss))
            if loss < LEARNED:
                break
    return Trace(
        network=name,
        change=change,
        init=init,
        order=order,
        precision=precision,
        steps=steps,
        environment=describe(device),
        looks=tuple(probes),
    )


def batches(count: int, size: int, seed: int, steps: int) -> Iterator[Tensor]:
    """Yield `steps` full batches of positions in a random order, over several epochs."""
    generator = torch.Generator().manual_seed(seed)
    taken = 0
    while True:
        for batch in torch.randperm(count, generator=generator).split(size):
            if taken == steps:
                return
            if len(batch) == size:
                taken += 1
                yield batch


def probe(
    network: Network, data: LabelledTensors, decay: float, step: int, loss: float | None
) -> TrainingProbe:
    """Measure norms by layer, dead units and the standard deviation of the logits."""
    found = diagnose(network, LabelledTensors(data.images[:128], data.labels[:128]))
    network.train()
    gradients = {name: weight.grad for name, weight in layer_weights(network).items()}
    return TrainingProbe(
        step=step,
        loss=loss,
        weight=found.weight_norm,
        gradient={
            name: gradient.norm().item() if gradient is not None else 0.0
            for name, gradient in gradients.items()
        },
        decay={name: decay * norm for name, norm in found.weight_norm.items()},
        dead=found.dead_fraction,
        logit_std=found.logit_std,
    )


@app.command()
def main(
    data: Annotated[Path | None, typer.Option(help="CIFAR-10, as a folder or archive.")] = None,
    output: Annotated[Path, typer.Option(help="Folder with collapse.json.")] = Path("docs"),
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Network; repeat for several. Default: none-3."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--change", help="Change; repeat for several. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of the weights.")] = 4,
    orders: Annotated[
        int, typer.Option(help="Orders of the images for each seed of the weights.")
    ] = 1,
    steps: Annotated[int, typer.Option(help="Maximal steps of a run, of 64 images each.")] = 400,
    minutes: Annotated[
        float, typer.Option(help="Start no run after this time; repeat the command to continue.")
    ] = math.inf,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
) -> None:
    """Run what is missing, print how often each network learned, and plot the traces."""
    if unknown := {*(changes or ())} - CHANGES.keys():
        raise typer.BadParameter(
            f"unknown changes {sorted(unknown)}; choose from {', '.join(CHANGES)}"
        )
    file = output / "collapse.json"
    traces = load_traces(file)
    if data:
        chosen = pick_device(device)
        with track(f"reading {data.name}") as on_image:
            images = load(data, on_image=on_image)
        indices = split(images, 0).indices("train")
        training = LabelledTensors(
            images.images[indices].to(chosen), images.labels[indices].to(chosen)
        )
        planned = [
            (name, change, init, init + 100 * number)
            for number in range(orders)
            for init in range(seeds)
            for name in names or ["none-3"]
            for change in changes or CHANGES
        ]
        started = time.monotonic()
        for number, (name, change, init, order) in enumerate(planned, start=1):
            precision = pick_precision(CHANGES[change](find(name)).config.precision, chosen)
            if (name, change, init, order, steps, precision) in traces:
                continue
            if time.monotonic() - started > 60 * minutes:
                print_line(
                    f"{len(planned) - number + 1} runs are left: repeat the command to continue"
                )
                break
            found = run_trace(name, change, init, order, training, steps)
            traces[found.key] = found
            save_traces(list(traces.values()), file)
            last = found.looks[-1]
            print_line(
                f"[{number}/{len(planned)}] {name}, {change}, weights {init}, order {order}: "
                f"{found.outcome} (loss {last.loss} after {last.step} steps)"
            )
    finished = list(traces.values())
    for network in dict.fromkeys(one.network for one in finished):
        plot_traces(finished, network, CHANGES, output / "collapse")
    Console(width=110).print(summarise(finished))


if __name__ == "__main__":
    app()

"""Why three blocks without batch norm sometimes never learn: short runs, one thing changed in each.

    python -m benchmarks.collapse --data cifar10-jpeg.tar.gz
    python -m benchmarks.collapse --data cifar10-jpeg.tar.gz --name dropout-3 --name augmentation-3
    python -m benchmarks.collapse

The first two run what has not been run yet, the seeds in turn, and keep every trace in
`docs/collapse.json`; they can be stopped, and go on where they were. The third only prints the
table and draws the pictures from there. A run ends once it has clearly learned.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib import rc_context
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from training.dataset import load
from training.device import pick_device, pick_precision
from training.environment import describe
from training.experiments import Experiment, find
from training.frozen import Frozen
from training.labelled import Labelled
from training.network import BlockNet
from training.progress import say, track
from training.record import Environment
from training.run import build_network
from training.splits import split
from training.step import step_for
from training.trainer import diagnose

app = typer.Typer(add_completion=False)

EVERY = 20
"""Steps between two looks at the network."""
LEARNED = 1.9
"""A mean loss below this over so many steps is learning without doubt."""
STUCK = math.log(10) - 0.01
"""At the end of a run: no better than a blind guess."""


class Look(Frozen):
    """The network after so many steps.

    By layer: `weight` is the norm of its weights, `gradient` that of the loss alone before the last
    step, `decay` that of what L2 decay adds to it. `loss` is the mean since the last look.
    """

    step: int
    loss: float | None
    weight: dict[str, float]
    gradient: dict[str, float]
    decay: dict[str, float]
    dead: dict[str, float]
    logit_std: float


class Trace(Frozen):
    """One short run."""

    network: str
    change: str
    init: int
    order: int
    precision: str
    steps: int
    environment: Environment
    looks: tuple[Look, ...]

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What was run."""
        return self.network, self.change, self.init, self.order, self.steps

    @property
    def outcome(self) -> str:
        """`learned`, `stuck` at the loss of a blind guess, or `slow`, between the two."""
        loss = self.looks[-1].loss or math.inf
        return "learned" if loss < LEARNED else "stuck" if loss > STUCK else "slow"


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
    "learning rate 3e-4": _config(learning_rate=3e-4),
}
"""What is changed, one thing at a time."""


def trace(name: str, change: str, init: int, order: int, data: Labelled, steps: int) -> Trace:
    """Train for so many steps at most, looking at the network every 20."""
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
    looks = [look(network, data, experiment.config.weight_decay, 0, None)]
    for number, batch in enumerate(batches(len(data), size, order, steps), start=1):
        step(batch.to(device))
        if number % EVERY == 0:
            loss = step.totals[0].item() / (EVERY * size)
            step.totals.zero_()
            looks.append(look(network, data, experiment.config.weight_decay, number, loss))
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
        looks=tuple(looks),
    )


def batches(count: int, size: int, seed: int, steps: int) -> Iterator[Tensor]:
    """Full batches in a random order, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    taken = 0
    while True:
        for batch in torch.randperm(count, generator=generator).split(size):
            if taken == steps:
                return
            if len(batch) == size:
                taken += 1
                yield batch


def look(network: BlockNet, data: Labelled, decay: float, step: int, loss: float | None) -> Look:
    """Norms by layer, dead units and the spread of the logits."""
    layers = {
        name.replace("blocks.", "block "): module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    found = diagnose(network, Labelled(data.images[:128], data.labels[:128]))
    network.train()
    gradients = {name: weight.grad for name, weight in layers.items()}
    return Look(
        step=step,
        loss=loss,
        weight={name: weight.norm().item() for name, weight in layers.items()},
        gradient={
            name: gradient.norm().item() if gradient is not None else 0.0
            for name, gradient in gradients.items()
        },
        decay={name: decay * weight.norm().item() for name, weight in layers.items()},
        dead=found.dead_fraction,
        logit_std=found.logit_std,
    )


TRACES = TypeAdapter(tuple[Trace, ...])


def read(file: Path) -> dict[tuple[str, str, int, int, int], Trace]:
    """The traces that were kept, by what was run."""
    if not file.exists():
        return {}
    return {one.key: one for one in TRACES.validate_json(file.read_bytes())}


def write(traces: list[Trace], file: Path) -> None:
    """Keep them: one line a trace, six digits a number."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, dict):
            return {key: short(one) for key, one in value.items()}
        return [short(one) for one in value] if isinstance(value, list) else value

    lines = (json.dumps(short(one)) for one in TRACES.dump_python(tuple(traces), mode="json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    temporary.replace(file)


def summary(traces: list[Trace]) -> Table:
    """How often each network learned under each change."""
    table = Table(
        title=f"Runs that learned (loss below {LEARNED}), of all, and after how many steps"
    )
    for column in ("network", "change", "learned", "slow", "stuck", "median steps to learn"):
        table.add_column(column)
    for network, change in dict.fromkeys((one.network, one.change) for one in traces):
        runs = [one for one in traces if (one.network, one.change) == (network, change)]
        counts = [sum(one.outcome == name for one in runs) for name in ("learned", "slow", "stuck")]
        steps = [one.looks[-1].step for one in runs if one.outcome == "learned"]
        median = f"{statistics.median(steps):.0f}" if steps else "-"
        table.add_row(network, change, *(f"{count} of {len(runs)}" for count in counts), median)
    return table


def _share(seen: Look) -> float:
    """The gradient of the loss against that of L2 decay, in the first layer; nan without decay."""
    gradient, decay = (next(iter(norms.values())) for norms in (seen.gradient, seen.decay))
    return gradient / decay if decay else math.nan


def picture(traces: list[Trace], network: str, folder: Path) -> None:
    """Loss, weights and the share of decay in what Adam sees, for each change, as SVG."""
    own = [one for one in traces if one.network == network]
    changes = [name for name in CHANGES if any(one.change == name for one in own)]
    figure = Figure(figsize=(2.5 * len(changes), 7.2), layout="constrained")
    grid = figure.subplots(3, len(changes), sharex=True, sharey="row", squeeze=False)
    for column, change in enumerate(changes):
        loss, weight, share = (line[column] for line in grid)
        for one in own:
            if one.change != change:
                continue
            colour = {"learned": "#0072B2", "slow": "#E69F00", "stuck": "#D55E00"}[one.outcome]
            steps = [seen.step for seen in one.looks]
            loss.plot(steps[1:], [seen.loss for seen in one.looks[1:]], color=colour, linewidth=1)
            weight.plot(
                steps,
                [math.hypot(*seen.weight.values()) for seen in one.looks],
                color=colour,
                linewidth=1,
            )
            share.plot(
                steps[1:],
                [_share(seen) for seen in one.looks[1:]],
                color=colour,
                linewidth=1,
            )
        loss.set_title(change, fontsize="medium")
        share.set_yscale("log")
        share.axhline(1, color="0.5", linewidth=0.8)
        share.set_xlabel("step")
        for axes in (loss, weight, share):
            axes.grid(alpha=0.3)
    for axes, label in zip(
        (line[0] for line in grid),
        ("loss", "norm of all weights", "first layer: gradient / decay"),
        strict=True,
    ):
        axes.set_ylabel(label)
    figure.suptitle(f"{network}: blue learned, orange slow, red stuck at ln 10")
    with rc_context({"svg.hashsalt": "kindred", "svg.fonttype": "none"}):
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{network}.svg", metadata={"Date": None})


@app.command()
def main(
    data: Annotated[Path | None, typer.Option(help="CIFAR-10, as a folder or archive.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of collapse.json.")] = Path("docs"),
    names: Annotated[list[str] | None, typer.Option("--name", help="Default: none-3.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--change", help="Default: all.")] = None,
    seeds: Annotated[int, typer.Option(help="Each draws weights and order.")] = 4,
    orders: Annotated[
        int, typer.Option(help="Orders of the images for each draw of the weights.")
    ] = 1,
    steps: Annotated[int, typer.Option(help="Steps of 64 images at most.")] = 400,
    minutes: Annotated[
        float, typer.Option(help="Begin no run after so many; the same command goes on.")
    ] = math.inf,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")] = "auto",
) -> None:
    """Run what is missing, keep it, print how often each network learned, draw the traces."""
    if unknown := {*(changes or ())} - CHANGES.keys():
        raise typer.BadParameter(f"no change {sorted(unknown)}; there is {', '.join(CHANGES)}")
    file = output / "collapse.json"
    kept = read(file)
    if data:
        chosen = pick_device(device)
        with track(f"reading {data.name}") as on_image:
            images = load(data, on_image=on_image)
        indices = split(images, 0).indices("train")
        training = Labelled(images.images[indices].to(chosen), images.labels[indices].to(chosen))
        wanted = [
            (name, change, init, init + 100 * turn)
            for turn in range(orders)
            for init in range(seeds)
            for name in names or ["none-3"]
            for change in changes or CHANGES
        ]
        started = time.monotonic()
        for number, (name, change, init, order) in enumerate(wanted, start=1):
            if (name, change, init, order, steps) in kept:
                continue
            if time.monotonic() - started > 60 * minutes:
                say(f"{len(wanted) - number + 1} runs are left: the same command goes on with them")
                break
            made = trace(name, change, init, order, training, steps)
            kept[made.key] = made
            write(list(kept.values()), file)
            last = made.looks[-1]
            say(
                f"[{number}/{len(wanted)}] {name}, {change}, weights {init}, order {order}: "
                f"{made.outcome} (loss {last.loss} after {last.step} steps)"
            )
    traces = list(kept.values())
    for network in dict.fromkeys(one.network for one in traces):
        picture(traces, network, output / "collapse")
    Console(width=110).print(summary(traces))


if __name__ == "__main__":
    app()

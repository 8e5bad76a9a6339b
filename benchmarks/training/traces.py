"""Traces of short runs: their file, their table and their plots.

Knows nothing of how a network is trained.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from rich.table import Table

from training.base_model import Frozen
from training.experiments.record import Environment

LEARNED: Final = 1.9
"""A run has learned if the mean loss between two probes is below this."""
STUCK: Final = math.log(10) - 0.01
"""A run is stuck if its last loss is above this: the loss of chance, less a margin."""

Key = tuple[str, str, int, int, int, str]


class TrainingProbe(Frozen):
    """The state of the network after `step` steps.

    By layer: `weight` is the norm of the weights, and `gradient` that of the loss's gradient before
    the last step. `decay` is the norm of the L2 decay added to it. `loss` is the mean since the
    previous probe.
    """

    step: int
    loss: float | None
    weight: dict[str, float]
    gradient: dict[str, float]
    decay: dict[str, float]
    dead: dict[str, float]
    logit_std: float


class Trace(Frozen):
    """One short run; `looks` are its probes."""

    network: str
    change: str
    init: int
    order: int
    precision: str
    steps: int
    environment: Environment
    looks: tuple[TrainingProbe, ...]

    @property
    def key(self) -> Key:
        """The arguments of the run, which identify it."""
        return self.network, self.change, self.init, self.order, self.steps, self.precision

    @property
    def outcome(self) -> str:
        """`learned`, `stuck` at the loss of chance, or `slow`, between the two."""
        loss = self.looks[-1].loss or math.inf
        return "learned" if loss < LEARNED else "stuck" if loss > STUCK else "slow"


_TRACES: Final = TypeAdapter(tuple[Trace, ...])


def load_traces(file: Path) -> dict[Key, Trace]:
    """Read the traces by their keys; none if the file does not exist."""
    if not file.exists():
        return {}
    return {one.key: one for one in _TRACES.validate_json(file.read_bytes())}


def save_traces(traces: list[Trace], file: Path) -> None:
    """Write the traces as JSON, one line each, with six significant digits; atomic."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, dict):
            return {key: short(one) for key, one in value.items()}
        return [short(one) for one in value] if isinstance(value, list) else value

    lines = (json.dumps(short(one)) for one in _TRACES.dump_python(tuple(traces), mode="json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    temporary.replace(file)


def summarise(traces: list[Trace]) -> Table:
    """Build a table of how often each network learned under each change."""
    table = Table(
        title=f"Runs that learned (loss below {LEARNED}), of all, and after how many steps"
    )
    for column in ("network", "change", "precision", "learned", "slow", "stuck", "steps to learn"):
        table.add_column(column)

    def kind(one: Trace) -> tuple[str, str, str]:
        return one.network, one.change, one.precision

    for named in dict.fromkeys(map(kind, traces)):
        runs = [one for one in traces if kind(one) == named]
        counts = [sum(one.outcome == name for one in runs) for name in ("learned", "slow", "stuck")]
        steps = [str(one.looks[-1].step) for one in runs if one.outcome == "learned"]
        shares = (f"{count} of {len(runs)}" for count in counts)
        table.add_row(*named, *shares, ", ".join(steps) or "-")
    return table


def _gradient_to_decay(probe: TrainingProbe) -> float:
    """Compute the ratio of loss gradient to L2 decay in the first layer; nan without decay."""
    gradient, decay = (next(iter(norms.values())) for norms in (probe.gradient, probe.decay))
    return gradient / decay if decay else math.nan


def plot_traces(traces: list[Trace], network: str, order: Iterable[str], folder: Path) -> None:
    """Plot loss, weight norm and gradient-to-decay ratio for each change in order, as SVG."""
    own = [one for one in traces if one.network == network]
    changes = [name for name in order if any(one.change == name for one in own)]
    figure = Figure(figsize=(2.5 * len(changes), 7.2), layout="constrained")
    grid = figure.subplots(3, len(changes), sharex=True, sharey="row", squeeze=False)
    for column, change in enumerate(changes):
        loss, weight, ratio = (line[column] for line in grid)
        for one in own:
            if one.change != change:
                continue
            colour = {"learned": "#0072B2", "slow": "#E69F00", "stuck": "#D55E00"}[one.outcome]
            steps = [probe.step for probe in one.looks]
            loss.plot(steps[1:], [probe.loss for probe in one.looks[1:]], color=colour, linewidth=1)
            weight.plot(
                steps,
                [math.hypot(*probe.weight.values()) for probe in one.looks],
                color=colour,
                linewidth=1,
            )
            ratio.plot(
                steps[1:],
                [_gradient_to_decay(probe) for probe in one.looks[1:]],
                color=colour,
                linewidth=1,
            )
        loss.set_title(change, fontsize="medium")
        ratio.set_yscale("log")
        ratio.axhline(1, color="0.5", linewidth=0.8)
        ratio.set_xlabel("step")
        for axes in (loss, weight, ratio):
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

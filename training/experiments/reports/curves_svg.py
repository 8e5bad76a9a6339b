"""Draws the learning curves of all experiments in one SVG that a web page can embed.

The page selects curves by their attributes. A strict Content-Security-Policy forbids `style`, so
the SVG has presentation attributes instead. Knows matplotlib and records.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from training.experiments.aggregate import RunStats, group_runs
from training.experiments.record import Record
from training.experiments.reports.figures import Quantity

Part = Literal["train", "validation"]

PARTS: tuple[Part, ...] = ("train", "validation")
# The colours are distinct for colour-blind readers (simulated as by Machado et al., 2009). Their
# contrast is 3:1 on white and on the page's dark background. The markers differ as well.
CURVE_STYLES = (
    ("#128cfd", "o"),
    ("#d81f3d", "s"),
    ("#0c7c09", "^"),
    ("#b38417", "D"),
    ("#7048f4", "v"),
    ("#ff29aa", "P"),
    ("#159593", "X"),
    ("#836268", "p"),
    ("#b706cb", "<"),
    ("#a975ce", ">"),
)
TEXT_COLOUR = "#000000"
"""Colour of axes and text, which the page replaces by its own text colour."""
METADATA = ("Creator", "Date", "Format", "Type")
TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Curve:
    """One quantity by epoch, aggregated over the runs of one experiment."""

    experiment: str
    part: Part
    quantity: Quantity
    epochs: dict[int, RunStats]

    def describe(self, epoch: int) -> str:
        """Return the values of one point as text."""
        stats = self.epochs[epoch]
        scale, digits, unit = (100, 1, " %") if self.quantity == "accuracy" else (1, 3, "")
        value = f"{scale * stats.mean:.{digits}f}{unit}"
        if stats.std is not None:
            value += f" ± {scale * stats.std:.{digits}f}, mean of {stats.n} runs"
        return f"{self.experiment}, epoch {epoch}: {self.part} {self.quantity} {value}"


def overlaid_curves(records: Sequence[Record], quantity: Quantity) -> bytes:
    """Draw one quantity by epoch of every experiment, for training and validation, as SVG.

    Each curve is a `g` with `data-experiment` and `data-part`. Each of its points is a `use` whose
    `title` has the values. Several runs are drawn as their mean, and a second `g` with the same
    attributes is the band of one standard deviation.
    """
    figure = Figure(figsize=(4.5, 3.4), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    drawn: dict[str, Curve] = {}
    for (name, runs), style in zip(group_runs(records).items(), cycle(CURVE_STYLES), strict=False):
        for curve in _curves(name, runs, quantity):
            number = len(drawn)
            drawn[f"curve-{number}"] = drawn[f"band-{number}"] = curve
            _draw(axes, curve, *style, number)
    _lay_out(axes, quantity, last=max((max(one.epochs) for one in drawn.values()), default=1))
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": f"kindred-{quantity}", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(METADATA))
    return _prepare_for_embedding(stream.getvalue(), drawn)


def _curves(name: str, runs: Sequence[Record], quantity: Quantity) -> Iterator[Curve]:
    """Yield the curves of an experiment's runs, without quantities that were not measured."""
    for part in PARTS:
        values: dict[int, list[float]] = {}
        for epoch in (epoch for run in runs for epoch in run.curves):
            value: float | None = getattr(epoch, f"{part}_{quantity}")
            if value is not None:
                values.setdefault(epoch.epoch, []).append(value)
        if values:
            stats = {epoch: RunStats.of(values[epoch]) for epoch in sorted(values)}
            yield Curve(name, part, quantity, stats)


def _draw(axes: Axes, curve: Curve, colour: str, marker: str, number: int) -> None:
    epochs = list(curve.epochs)
    means = np.array([one.mean for one in curve.epochs.values()])
    stds = np.array([one.std or 0 for one in curve.epochs.values()])
    line, width, size = ("-", 1.6, 4.5) if curve.part == "validation" else ("--", 1.0, 3.0)
    axes.plot(
        epochs,
        means,
        color=colour,
        linestyle=line,
        linewidth=width,
        marker=marker,
        markersize=size,
        gid=f"curve-{number}",
    )
    if stds.any():
        axes.fill_between(
            epochs, means - stds, means + stds, facecolor=colour, alpha=0.2, gid=f"band-{number}"
        )


def _lay_out(axes: Axes, quantity: Quantity, last: int) -> None:
    """Set up the axes. Epochs are on a log scale, since curves change most in the first ones."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.15, color=TEXT_COLOUR)
    axes.set_xscale("log")
    ticks = [tick for tick in TICKS if tick <= last]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="epoch", ylabel={"loss": "cross entropy", "accuracy": "accuracy"}[quantity])
    axes.set_ylim(bottom=0)  # from 0, so that a flat curve looks flat
    if quantity == "accuracy":
        axes.set_ylim(top=1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _prepare_for_embedding(drawing: bytes, drawn: dict[str, Curve]) -> bytes:
    """Replace styles by attributes, add a title to each point, and drop unused ids."""
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(drawing)  # noqa: S314 - our own
    root.set("fill", "currentColor")
    for parent in list(root.iter()):
        for sheet in parent.findall(f"{{{SVG}}}style"):
            parent.remove(sheet)
    for group in root.iter(f"{{{SVG}}}g"):
        curve = drawn.get(group.get("id", ""))
        if curve:
            group.set("data-experiment", curve.experiment)
            group.set("data-part", curve.part)
            points = group.iter(f"{{{SVG}}}use")
            for epoch, point in zip(curve.epochs, points, strict=False):  # a band has no points
                ET.SubElement(point, f"{{{SVG}}}title").text = curve.describe(epoch)
    for one in root.iter():
        for name, value in re.findall(r"([\w-]+): ([^;]+)", one.attrib.pop("style", "")):
            if name != "font-family":  # the page sets its own font
                one.set(name, "currentColor" if value == TEXT_COLOUR else value)
    named = {
        name
        for one in root.iter()
        for value in one.attrib.values()
        for name in re.findall(r"#([\w-]+)", value)
    }
    for one in root.iter():
        if one.get("id") not in named:
            one.attrib.pop("id", None)
    return ET.tostring(root)

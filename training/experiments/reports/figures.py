"""Draws records as SVG and nearest images as PNG. Knows matplotlib, records and pixels."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.data.preprocessing import Pixels
from training.experiments.record import LayerRetrieval, Record

Quantity = Literal["loss", "accuracy"]

QUANTITIES: tuple[Quantity, ...] = ("accuracy", "loss")
MAX_NUMBERED = 20
"""Maximum number of classes for which the cells of a confusion matrix have numbers."""
_TRAIN, _VALIDATION = "#0072B2", "#D55E00"  # Okabe and Ito, safe for colour-blind readers
_LABELS = {"loss": "cross entropy", "accuracy": "share of images"}


def learning_curves(name: str, records: Sequence[Record]) -> bytes:
    """Draw loss and accuracy by epoch of all study runs of one experiment, as SVG."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    panels: tuple[tuple[Axes, Quantity], ...] = ((loss, "loss"), (accuracy, "accuracy"))
    for axes, quantity in panels:
        drawn = _draw_curves(axes, name, records, quantity)
        axes.set(title=f"{name}: {quantity}", xlabel="epoch", ylabel=_LABELS[quantity])
        if drawn:
            axes.legend()
    return _svg(figure)


def compared_curves(rows: Sequence[Sequence[str]], records: Sequence[Record]) -> bytes:
    """Draw accuracy and loss by epoch of several experiments, one panel each, as SVG.

    Args:
        rows: names of experiments. Each row of names is a row of accuracy panels and a row of loss
            panels; all panels have the same axes.
        records: the runs to draw.

    """
    width = max(len(row) for row in rows)
    figure = Figure(figsize=(2.6 * width, 4.4 * len(rows)), layout="constrained")
    grid = figure.subplots(2 * len(rows), width, squeeze=False, sharex="row")
    for number, row in enumerate(rows):
        for offset, quantity in enumerate(QUANTITIES):
            line = grid[2 * number + offset]
            top = 1.0 if quantity == "accuracy" else _highest_loss(records)
            for column, axes in enumerate(line):
                if column >= len(row):
                    axes.set_visible(False)
                    continue
                _draw_curves(axes, row[column], records, quantity)
                axes.set_ylim(0, top)
                axes.set_title(f"{row[column]}: {quantity}", fontsize="medium")
                axes.set_xlabel("epoch" if quantity == "loss" else "")
                if column == 0:
                    axes.set_ylabel(_LABELS[quantity])
    handles, labels = grid[0][0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return _svg(figure)


def confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """Draw how often each true class (row) was predicted as each class (column), as SVG."""
    counts = np.array(matrix)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    numbered = len(classes) <= MAX_NUMBERED
    side = 2.2 + (0.42 if numbered else 0.11) * max(len(classes), 4)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    size, angle = ("medium", 45) if numbered else (5, 90)
    axes.set_xticks(
        range(len(classes)), classes, rotation=angle, ha="right", fontsize=size, parse_math=False
    )
    axes.set_yticks(range(len(classes)), classes, fontsize=size, parse_math=False)
    if numbered:
        for (row, column), count in np.ndenumerate(counts):
            colour = "black" if shares[row, column] > 0.5 else "white"
            axes.text(
                column, row, str(count), ha="center", va="center", color=colour, fontsize="small"
            )
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return _svg(figure)


def retrieval_by_layer(layers: dict[str, LayerRetrieval], classes: Sequence[str]) -> bytes:
    """Draw the precision at 10 of each class, and of all, from layer to layer, as SVG."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    names = list(layers)
    ends = []
    for number, label in enumerate(classes):
        found = [layers[name].by_class[number] for name in names]
        heights = [one.precision_at_10 if one else np.nan for one in found]
        axes.plot(names, heights, color="0.65", linewidth=1)
        if found[-1] and len(classes) <= MAX_NUMBERED:
            ends.append((heights[-1], label))
    y = 2.0
    for height, label in sorted(ends, reverse=True):  # labels of close lines must not overlap
        y = min(height, y - 0.035)
        axes.text(len(names) - 0.93, y, label, fontsize="x-small", va="center", parse_math=False)
    axes.set_xlim(-0.2, len(names) - 0.3)
    overall = [layers[name].overall.precision_at_10 for name in names]
    axes.plot(names, overall, color=_TRAIN, linewidth=2.5, marker="o", label="all classes")
    axes.set(ylim=(0, 1), ylabel="precision at 10", xlabel="layer")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return _svg(figure)


def neighbours(rows: Sequence[tuple[str, Sequence[tuple[Pixels, str]]]]) -> bytes:
    """Draw a query and its nearest images, one row per layer, as PNG.

    Args:
        rows: for each layer its name, and its images uint8 [32, 32, 3] with captions, the query
            first.

    """
    width = max(len(images) for _, images in rows)
    size = (0.3 + 1.25 * width, 1.5 * len(rows))
    figure = Figure(figsize=size)
    # One plot for all images: a plot for each takes seconds.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for line, (layer, images) in enumerate(rows):
        top = 1.5 * line + 0.28
        axes.text(0.15, top + 0.58, layer, rotation=90, ha="center", va="center")
        for column, (pixels, caption) in enumerate(images):
            left = 0.3 + 1.25 * column
            axes.imshow(
                pixels,
                interpolation="nearest",
                extent=(left, left + 1.16, top + 1.16, top),
            )
            centre = left + 0.58
            axes.text(centre, top - 0.06, caption, fontsize="small", ha="center", parse_math=False)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    stream = io.BytesIO()
    with _any_script():
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _draw_curves(axes: Axes, name: str, records: Sequence[Record], quantity: Quantity) -> int:
    """Draw a line for train and one for validation of each study run; return how many runs."""
    runs = [run for run in records if run.experiment == name and run.stage == "study"]
    for number, run in enumerate(runs):
        epochs = [epoch.epoch for epoch in run.curves]
        for part, colour in (("train", _TRAIN), ("validation", _VALIDATION)):
            values = [getattr(epoch, f"{part}_{quantity}") for epoch in run.curves]
            axes.plot(epochs, values, color=colour, label=None if number else part, marker=".")
    axes.grid(alpha=0.3)
    axes.set_ylim(bottom=0)  # from 0, so that a flat curve looks flat
    if quantity == "accuracy":
        axes.set_ylim(top=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return len(runs)


def _highest_loss(records: Sequence[Record]) -> float:
    losses = [
        loss
        for run in records
        for epoch in run.curves
        for loss in (epoch.train_loss, epoch.validation_loss)
        if loss is not None
    ]
    return 1.05 * max(losses, default=1.0)


def _svg(figure: Figure) -> bytes:
    """Write a figure without date or random ids, so that equal figures have equal bytes."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "kindred", "svg.fonttype": "none"}), _any_script():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Suppress warnings about characters that matplotlib's font lacks.

    Class names may be in any script, and an SVG uses the fonts of its viewer.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield

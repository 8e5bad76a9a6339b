"""Pictures of records, as SVG, and of neighbours, as PNG. Knows matplotlib, records and pixels."""

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
NUMBERED = 20
"""Up to so many classes, a confusion matrix has its numbers in its cells; up to 100 their names."""
_TRAIN, _VALIDATION = "#0072B2", "#D55E00"  # Okabe and Ito: apart for colour-blind readers too
_LABELS = {"loss": "cross entropy", "accuracy": "share of images"}


def learning_curves(name: str, records: Sequence[Record]) -> bytes:
    """Loss and accuracy by epoch of all study runs of one experiment, as SVG."""
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
    """Accuracy and loss by epoch of many experiments side by side, one panel each, as SVG.

    `rows` are the names as they are to be laid out; each row becomes one of accuracies and one of
    losses, on the same axes throughout.
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
    """How often each true class (row) was taken for each class (column), as SVG."""
    counts = np.array(matrix)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    numbered = len(classes) <= NUMBERED
    side = 2.2 + (0.42 if numbered else 0.11) * max(len(classes), 4)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="true class")
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
    """Precision at ten of each class, and of all, from the first layer to the last, as SVG."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    names = list(layers)
    ends = []
    for number, label in enumerate(classes):
        found = [layers[name].by_class[number] for name in names]
        heights = [one.precision_at_10 if one else np.nan for one in found]
        axes.plot(names, heights, color="0.65", linewidth=1)
        if found[-1] and len(classes) <= NUMBERED:
            ends.append((heights[-1], label))
    place = 2.0
    for height, label in sorted(ends, reverse=True):  # one below the other, where lines end close
        place = min(height, place - 0.035)
        axes.text(
            len(names) - 0.93, place, label, fontsize="x-small", va="center", parse_math=False
        )
    axes.set_xlim(-0.2, len(names) - 0.3)
    overall = [layers[name].overall.precision_at_10 for name in names]
    axes.plot(names, overall, color=_TRAIN, linewidth=2.5, marker="o", label="all classes")
    axes.set(ylim=(0, 1), ylabel="precision at 10", xlabel="layer")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return _svg(figure)


def neighbours(rows: Sequence[tuple[str, Sequence[tuple[Pixels, str]]]]) -> bytes:
    """Queries and their nearest images, one row a layer, in their true colours, as PNG.

    Args:
        rows: for each layer its name and its pictures uint8 [32, 32, 3] with their captions, the
            query first.

    """
    width = max(len(pictures) for _, pictures in rows)
    figure = Figure(figsize=(1.25 * width, 1.55 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), width, squeeze=False)
    for line, (layer, pictures) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.set_frame_on(False)
        line[0].set_ylabel(layer)
        for axes, (pixels, caption) in zip(line, pictures, strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(caption, fontsize="small", parse_math=False)
    stream = io.BytesIO()
    with _any_script():
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _draw_curves(axes: Axes, name: str, records: Sequence[Record], quantity: Quantity) -> int:
    """The study runs of one experiment, a line each for train and validation; returns how many."""
    runs = [run for run in records if run.experiment == name and run.stage == "study"]
    for number, run in enumerate(runs):
        epochs = [epoch.epoch for epoch in run.curves]
        for part, colour in (("train", _TRAIN), ("validation", _VALIDATION)):
            values = [getattr(epoch, f"{part}_{quantity}") for epoch in run.curves]
            axes.plot(epochs, values, color=colour, label=None if number else part, marker=".")
    axes.grid(alpha=0.3)
    axes.set_ylim(bottom=0)  # a flat curve is to look flat
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
    """Equal figures give equal bytes: no date, no random ids."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "kindred", "svg.fonttype": "none"}), _any_script():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Names of classes may be in a script that matplotlib's own font lacks, which is no fault.

    An SVG is set in the reader's fonts anyway.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield

"""Figures from the records alone. Knows matplotlib and records; nothing of networks or images."""

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from training.record import Record

_TRAIN, _VALIDATION = "#0072B2", "#D55E00"  # Okabe and Ito: apart for colour-blind readers too


def learning_curves(name: str, records: Sequence[Record]) -> bytes:
    """Loss and accuracy by epoch of all study runs of one experiment, as SVG."""
    runs = [run for run in records if run.experiment == name and run.stage == "study"]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        epochs = [epoch.epoch for epoch in run.curves]
        lines = (
            (loss, "train_loss", "train", _TRAIN),
            (loss, "validation_loss", "validation", _VALIDATION),
            (accuracy, "train_accuracy", "train", _TRAIN),
            (accuracy, "validation_accuracy", "validation", _VALIDATION),
        )
        for axes, field, label, colour in lines:
            values = [getattr(epoch, field) for epoch in run.curves]
            axes.plot(epochs, values, color=colour, label=None if number else label, marker=".")
    loss.set(title=f"{name}: loss", xlabel="epoch", ylabel="cross entropy")
    loss.set_ylim(bottom=0)  # a flat curve is to look flat
    accuracy.set(title=f"{name}: accuracy", xlabel="epoch", ylabel="share of images", ylim=(0, 1))
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        if runs:
            axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    """Equal figures give equal bytes: no date, no random ids."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "kindred", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()

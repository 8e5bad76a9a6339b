"""Writes the chapter of `results.md` on why `batchnorm-3` is below the course report.

Knows records; nothing of networks, images or files.
"""

import statistics
from collections.abc import Sequence

from training.experiments.record import Record
from training.experiments.reports.markdown import format_values, paragraph, table

CHANGES = {
    "as-recorded": "as it is",
    "fp32": "trained in fp32",
    "no-norm-decay": "no L2 decay of the batch norms' parameters",
    "encoded-2": "images encoded as JPEG once more",
    "encoded-3": "images encoded twice more",
    "our-augmentation": "with our augmentation",
    "torchvision-augmentation": "with torchvision's augmentation",
}
"""The changes by the end of the experiment's name, in order."""
LAST = 3
"""Epochs at the end over which accuracies are averaged."""


def chapter(runs: Sequence[Record], base: str = "batchnorm-3") -> str:
    """Build the chapter in Markdown; `runs` are those of `base` and of its variations."""
    rows = []
    for name, text in {"": "the study of the eight", **CHANGES}.items():
        own = [one for one in runs if one.experiment == (f"{base}-{name}" if name else base)]
        own = [one for one in own if one.status == "finished" and one.validation_accuracy]
        if own:
            rows.append([text, *_row(own)])
    header = ["change", "last epoch", f"mean of last {LAST}", "best epoch", "last, at fp32"]
    return "\n\n".join(
        (
            f"## Why `{base}` is below the report",
            paragraph(_METHOD),
            table(header, rows),
        )
    )


_METHOD = """One thing is changed at a time, by `python -m benchmarks.training.gap`; the records are
in `experiments/gap/`. All figures are validation accuracies. The learning rate is constant, so the
last epoch is noisy: the mean of the last three and the best epoch show by how much. The best epoch
is chosen by the accuracy that it shows, so it is too high. The accuracies of the epochs are at the
precision of the training; the last column is of the same network at fp32."""


def _row(runs: Sequence[Record]) -> list[str]:
    curves = [
        [one.validation_accuracy for one in run.curves if one.validation_accuracy is not None]
        for run in runs
    ]
    return [
        format_values([one[-1] for one in curves], "{:.4f}"),
        format_values([statistics.fmean(one[-LAST:]) for one in curves], "{:.4f}"),
        format_values([max(one) for one in curves], "{:.4f}"),
        format_values([run.validation.accuracy for run in runs if run.validation], "{:.4f}"),
    ]

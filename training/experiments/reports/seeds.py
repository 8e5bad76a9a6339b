"""Writes the chapter of `results.md` on seeds: each run's accuracy, and the paired comparisons.

Knows records; nothing of networks, images or files.
"""

from collections.abc import Mapping, Sequence

from training.experiments.comparison import MINIMUM_SEEDS, SIGNIFICANT, compare
from training.experiments.record import Record
from training.experiments.reports.markdown import paragraph, table


def chapter(runs_by_name: Mapping[str, Sequence[Record]]) -> str:
    """Build the chapter in Markdown, with the experiments in the order of `runs_by_name`."""
    parts = ["## Seeds", paragraph(_METHOD), _by_seed(runs_by_name)]
    comparisons = compare(run for runs in runs_by_name.values() for run in runs)
    if comparisons:
        parts.append("### Differences beyond the seeds' own")
        parts.append(paragraph(_TEST))
        parts.append("\n".join(f"- {one.words}" for one in comparisons))
    return "\n\n".join(parts)


_METHOD = """Each seed draws the initial weights, the order of the images and the augmentation; the
split stays. Test accuracy of each run:"""
_TEST = f"""Two experiments are compared seed by seed, by a two-sided paired t-test of their test
accuracies. It needs {MINIMUM_SEEDS} seeds with which both learned. A difference is called larger
than the seeds' own if p is below {SIGNIFICANT:g} after Holm's correction (1979) for the number of
comparisons. Each pair differs in one thing: a regularizer, or a block. Seeds may have been run on
different machines, which adds to the differences."""


def _by_seed(runs_by_name: Mapping[str, Sequence[Record]]) -> str:
    seeds = sorted({run.seeds.init for runs in runs_by_name.values() for run in runs})
    rows = []
    for name, runs in runs_by_name.items():
        cells = {run.seeds.init: _cell(run) for run in runs}
        rows.append([f"`{name}`", *(cells.get(seed, "-") for seed in seeds)])
    return table(["network", *(f"seed {seed}" for seed in seeds)], rows)


def _cell(run: Record) -> str:
    if run.status == "collapsed":
        return "collapsed"
    return f"{run.test.accuracy:.4f}" if run.test else "-"

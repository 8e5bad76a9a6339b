"""Progress bars for the command line: reading images, training, embedding. Knows only rich."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from training.experiments.record import Epoch, Record

console = Console(stderr=True)
"""Where people read along; results alone go to standard output."""


def print_line(text: str, style: str | None = None) -> None:
    """One line for people, as it is: brackets are not taken for markup, and nothing is wrapped."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, steps: int = 1) -> None:
        """By so many steps."""


@contextmanager
def track(
    description: str, total: int | None = None, parent: Advance | None = None
) -> Iterator[Advance]:
    """Show a bar while the block runs; call what it yields after each step.

    The steps of a bar within a bar also move the outer one, its `parent`. When the block ends
    early, the parent is moved by the steps that are left.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(description), total=total)

        def advance(steps: int = 1) -> None:
            progress.advance(task, steps)
            if parent:
                parent(steps)

        try:
            yield advance
        finally:
            if parent and total:
                parent(total - int(progress.tasks[0].completed))


def show_epoch(epoch: Epoch) -> None:
    """One line an epoch."""
    line = f"epoch {epoch.epoch:>2}  train {epoch.train_accuracy:.4f} (loss {epoch.train_loss:.4f})"
    if epoch.validation_accuracy is not None:
        line += f"  validation {epoch.validation_accuracy:.4f} (loss {epoch.validation_loss:.4f})"
    print_line(f"{line}  {epoch.seconds:.1f} s")


def show_runs(runs: Sequence[Record]) -> None:
    """What came of each run, one line each."""
    table = Table()
    table.add_column("experiment")
    table.add_column("seed", justify="right")
    table.add_column("status")
    for title in ("validation", "test", "seconds", "images/s"):
        table.add_column(title, justify="right")
    for run in runs:
        accuracies = run.validation_accuracy, run.test.accuracy if run.test else None
        table.add_row(
            run.experiment,
            str(run.seeds.init),
            run.status,
            *("" if value is None else f"{value:.4f}" for value in accuracies),
            f"{run.timing.train:.0f}" if run.timing else "",
            f"{run.timing.images_per_second:.0f}" if run.timing else "",
        )
    console.print(table)

"""Prints progress on stderr: bars on a terminal, else lines of text; a table of runs.

Knows rich and run records; nothing of how the work is done.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console
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

console = Console(stderr=True, markup=False, emoji=False, highlight=False)
"""Standard error; names are printed as they are. Standard output has the results only."""
SECONDS_BETWEEN_LINES = 10.0


def print_line(text: str, style: str | None = None) -> None:
    """Print one line on stderr as it is, without rich's markup, colours or wrapping."""
    console.print(text, style=style, soft_wrap=True)


def print_path(path: Path) -> None:
    """Print a path on stdout as the bytes that it has, in any encoding of the output."""
    typer.echo(os.fsencode(path))


class Advance(Protocol):
    """Moves a progress bar forward."""

    def __call__(self, steps: int = 1) -> None:
        """Move the bar by this many steps."""


@contextmanager
def track(
    description: str, total: int | None = None, parent: Advance | None = None
) -> Iterator[Advance]:
    """Show a bar while the block runs, and yield the function that moves it.

    Without a terminal, as in a log, a line is printed every few seconds instead.

    Args:
        description: text before the bar.
        total: number of steps, or None if it is unknown.
        parent: the function of an outer bar, which each step also moves. If the block ends before
            the last step, the outer bar is moved by the rest.

    """
    shown = _bar if console.is_terminal else _lines
    done = 0
    with shown(description, total) as show:

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            show(steps)
            if parent:
                parent(steps)

        try:
            yield advance
        finally:
            if parent and total:
                parent(total - done)


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=total)
        yield lambda steps=1: bars.advance(task, steps)


@contextmanager
def _lines(description: str, total: int | None) -> Iterator[Advance]:
    """Print how far the work is, at most every `SECONDS_BETWEEN_LINES`, and at the end."""
    start = last = time.monotonic()
    done = printed = 0

    def show(steps: int = 1) -> None:
        nonlocal done, last, printed
        done += steps
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last, printed = now, done
            print_line(_line(description, done, total, now - start))

    yield show
    if done > printed:
        print_line(_line(description, done, total, time.monotonic() - start))


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    text = f"{description}: {done:,}{f' of {total:,}' if total else ''}, {seconds:.0f} s"
    if not total or not 0 < done < total:
        return text
    return f"{text}, about {seconds * (total - done) / done:.0f} s left"


def show_epoch(epoch: Epoch) -> None:
    """Print the losses and accuracies of an epoch in one line."""
    line = f"epoch {epoch.epoch:>2}  train {epoch.train_accuracy:.4f} (loss {epoch.train_loss:.4f})"
    if epoch.validation_accuracy is not None:
        line += f"  validation {epoch.validation_accuracy:.4f} (loss {epoch.validation_loss:.4f})"
    print_line(f"{line}  {epoch.seconds:.1f} s")


def show_runs(runs: Sequence[Record]) -> None:
    """Print a table with one row per run: its status, accuracies and speed."""
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

"""Progress bars for the command line: reading images, training, embedding. Knows only rich."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

from training.record import Epoch

console = Console(stderr=True)
"""Where people read along; results alone go to standard output."""


def say(text: str, style: str | None = None) -> None:
    """One line for people, as it is: brackets are not taken for markup, and nothing is wrapped."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def track(description: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs; call what it yields after each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda: progress.advance(task)


def show_epoch(epoch: Epoch) -> None:
    """One line an epoch."""
    line = f"epoch {epoch.epoch:>2}  train {epoch.train_accuracy:.4f} (loss {epoch.train_loss:.4f})"
    if epoch.validation_accuracy is not None:
        line += f"  validation {epoch.validation_accuracy:.4f} (loss {epoch.validation_loss:.4f})"
    say(f"{line}  {epoch.seconds:.1f} s")

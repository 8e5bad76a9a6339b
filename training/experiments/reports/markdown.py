"""Builds the parts of reports in Markdown: tables, paragraphs, numbers."""

import textwrap
from collections.abc import Sequence

from training.experiments.aggregate import RunStats

FIGURES = "results"
"""Folder of the figures, next to `results.md`."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Build a table; a `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def paragraph(text: str) -> str:
    """Wrap text at 100 columns, as in this project's documents."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def format_stats(stats: RunStats, form: str) -> str:
    """Format a mean, with standard deviation and number of runs if there are several."""
    mean = form.format(stats.mean)
    return mean if stats.std is None else f"{mean} ± {form.format(stats.std)}, {stats.n} runs"


def format_values(values: Sequence[float], form: str) -> str:
    """Format the statistics of some values; a dash if there are none."""
    return format_stats(RunStats.of(values), form) if values else "-"

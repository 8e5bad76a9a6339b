"""The pieces that the documents made of records are put together from, in Markdown."""

import textwrap
from collections.abc import Sequence

from training.experiments.aggregate import RunStats

PICTURES = "results"
"""Folder of the pictures, beside `results.md`."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells under a header."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def paragraph(text: str) -> str:
    """Text at the width of this project's documents."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def format_stats(stats: RunStats, form: str) -> str:
    """A mean in a form, with what it is the mean of."""
    mean = form.format(stats.mean)
    return mean if stats.std is None else f"{mean} ± {form.format(stats.std)}, {stats.n} runs"

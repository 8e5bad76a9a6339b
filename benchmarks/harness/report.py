"""Writes `docs/performance.md`: one section for each benchmark, replaced by its own command.

Has the parts that all sections share: provenance, tables, and medians with their range.
"""

import importlib.metadata
import os
import platform
import re
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch

from training.experiments.environment import describe

PERFORMANCE: Final = Path("docs/performance.md")
HEAD: Final = """# Performance

Every measured figure stands here, once. Accuracies are in [results.md](results.md).

The sections from "Serving" to "Start and memory" are written by the commands that they name, so
they may be of different days. `make bench` runs all but the search in a million. The sections of
machine B were written by the same commands with `--output`. The sections after them have what other
commands print. Figures are medians over rounds, with the lowest and the highest round in brackets;
ratios are taken within each round.

| machine | processor | cores, memory | used in |
| --- | --- | --- | --- |
| A | AMD EPYC with AVX-512 and bf16 | 2, 24 GiB | all sections that do not name another |
| B | AMD EPYC with AVX2, without bf16 | 2, 24 GiB | sections of its name, "Search in a million" |

Processors of kind A differ: one day's was almost twice as fast as another's. So compare figures
within a section, not between sections of different days.
"""
"""Everything before the first section."""
ORDER: Final = (
    "Serving",
    "Overload",
    "Engines",
    "Search",
    "Search in a million",
    "A gallery that grows",
    "Start and memory",
)
"""The sections in their order; sections that are not listed stay after them."""
PACKAGES: Final = ("torch", "openvino", "faiss-cpu", "fastapi", "uvicorn")


def write_section(name: str, body: str, file: Path = PERFORMANCE) -> None:
    """Write or replace a section of the document, and leave the others unchanged."""
    sections = _sections(file.read_text(encoding="utf-8")) if file.exists() else {}
    sections[name] = body.strip()
    known = [one for one in ORDER if one in sections]
    others = [one for one in sections if one not in ORDER]
    parts = [f"## {one}\n\n{sections[one]}\n" for one in (*known, *others)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join((HEAD, *parts)), encoding="utf-8")


def _sections(text: str) -> dict[str, str]:
    _, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def describe_run(command: str, peers: Sequence[str] = ()) -> str:
    """Return the command, date, commit, machine and package versions as a paragraph."""
    environment = describe(torch.device("cpu"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version}" for name in PACKAGES if (version := _version(name))]
    return wrap(
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, at {environment.git_commit or 'no commit'}. "
        f"{environment.processor}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; Python {environment.python}; {', '.join((*versions, *peers))}. "
        f"Load average before: {os.getloadavg()[0]:.1f}."
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # an optional dependency
        return None


def wrap(text: str) -> str:
    """Wrap each paragraph at 100 characters, as in the other documents."""
    return "\n\n".join(
        textwrap.fill(" ".join(one.split()), 100) for one in text.strip().split("\n\n")
    )


def median_range(values: Sequence[float], digits: int = 0) -> str:
    """Format the median, with the lowest and highest if there are several: `12 (11 to 14)`."""
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Format a Markdown table; all columns but the first `left` are right-aligned."""
    rule = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))

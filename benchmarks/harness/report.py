"""`docs/performance.md`: a section a benchmark, each written by its own command.

Also what all of them say alike: where and when it was measured, and medians with their spread.
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

Each section is written by the command that it names, so they may be of different days; `make bench`
runs all but the search in a million, and `--output` writes another document, for another machine.
Nothing in it is typed. Figures are medians over rounds, with the lowest and the highest round in
brackets; ratios are taken within each round.
"""
ORDER: Final = (
    "Serving",
    "Overload",
    "Engines",
    "Search",
    "Search in a million",
    "A gallery that grows",
    "Start and memory",
)
OURS: Final = ("torch", "openvino", "faiss-cpu", "fastapi", "uvicorn")


def write_section(name: str, body: str, file: Path = PERFORMANCE) -> None:
    """Put a section in its place in the document; the others stay as they are."""
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


def where(command: str, peers: Sequence[str] = ()) -> str:
    """The command, the day, the machine and the versions, as a paragraph."""
    found = describe(torch.device("cpu"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version}" for name in OURS if (version := _version(name))]
    return wrapped(
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, at {found.git_commit or 'no commit'}. "
        f"{found.processor}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; Python {found.python}; {', '.join((*versions, *peers))}. "
        f"Load average before: {os.getloadavg()[0]:.1f}."
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # an optional one
        return None


def wrapped(text: str) -> str:
    """Paragraphs, each at the width of this project's documents."""
    return "\n\n".join(
        textwrap.fill(" ".join(one.split()), 100) for one in text.strip().split("\n\n")
    )


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the lowest and highest where there are several: `12 (11 to 14)`."""
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns but the first `left` are figures."""
    marks = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, marks, *rows))

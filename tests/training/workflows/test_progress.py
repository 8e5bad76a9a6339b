"""Tests of nested progress bars."""

from io import StringIO

import pytest

from training.workflows import progress
from training.workflows.progress import track


def test_steps_of_a_nested_bar_move_its_parent() -> None:
    moved: list[int] = []

    def parent(steps: int = 1) -> None:
        moved.append(steps)

    with track("inner", 3, parent) as advance:
        advance()
        advance(2)
    assert sum(moved) == 3


def test_a_nested_bar_that_ends_early_moves_its_parent_by_the_rest() -> None:
    moved: list[int] = []

    def parent(steps: int = 1) -> None:
        moved.append(steps)

    with pytest.raises(ValueError, match="broken"), track("inner", 5, parent) as advance:
        advance()
        raise ValueError("broken")
    assert sum(moved) == 5


def test_without_a_terminal_progress_is_lines_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with track("reading", 3) as advance:
        advance()
        advance(2)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("reading: 1 of 3, 0 s, about ")
    assert last == "reading: 3 of 3, 0 s"


def test_lines_are_seconds_apart_and_the_last_one_is_always_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with track("reading") as advance:
        for _ in range(1000):
            advance()
    assert capsys.readouterr().err.splitlines() == ["reading: 1,000, 0 s"]


@pytest.mark.parametrize("name", ["[/b]", "cat [old]", "[red]x[/red]", ":cat:"])
def test_names_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shown = StringIO()
    for attribute, value in {"_file": shown, "_force_terminal": True, "_width": 200}.items():
        monkeypatch.setattr(progress.console, attribute, value)
    progress.print_line(f"error: {name}", style="red")
    with track(f"reading {name}", 1) as advance:
        advance()
    assert f"error: {name}" in shown.getvalue()
    assert f"reading {name}" in shown.getvalue()

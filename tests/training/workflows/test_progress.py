"""Tests of nested progress bars."""

import pytest

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

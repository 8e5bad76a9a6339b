"""Thousands of additions to a real process are searchable, also after a restart."""

from pathlib import Path

import pytest

from kindred import Client, New, Problem
from tests.support.images import striped_image
from tests.support.lengths import length
from tests.support.processes import ROOT, running_server, serve_command

COUNT = length(10_000, 128)
BATCH = 64
SAMPLE = 50

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def new_image(number: int) -> New:
    return New(striped_image(number % 10, 50_000 + number), label="new", id=f"new-{number:05d}")


def test_all_additions_are_found_before_and_after_a_restart(tmp_path: Path) -> None:
    command = serve_command(ROOT / "starter")
    with (
        running_server(command, KINDRED_GALLERY=str(tmp_path)) as http,
        Client(str(http.base_url), timeout=60) as kindred,
    ):
        for start in range(0, COUNT, BATCH):
            batch = [new_image(number) for number in range(start, min(start + BATCH, COUNT))]
            added = kindred.add_many(batch)
            assert [one.outcome for one in added if not isinstance(one, Problem)] == [
                "created"
            ] * len(batch)
        check(kindred)
    with (
        running_server(command, KINDRED_GALLERY=str(tmp_path)) as http,
        Client(str(http.base_url), timeout=60) as kindred,
    ):
        check(kindred)


def check(kindred: Client) -> None:
    """Count the additions, and search for a sample of them by their own images."""
    assert len(list(kindred.gallery(source="added"))) == COUNT
    for number in range(0, COUNT, max(1, COUNT // SAMPLE)):
        (found,) = kindred.similar(striped_image(number % 10, 50_000 + number), limit=1)
        assert found.id == f"new-{number:05d}"

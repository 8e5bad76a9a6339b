"""Tests that what the documents name exists."""

import re

from service.environment import variable
from service.server import configuration
from service.settings import Settings
from tests.support.processes import ROOT


def test_every_test_that_pains_names_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/pains.md").read_text(encoding="utf-8"))
    files = (ROOT / "tests/service").rglob("test_*.py")
    defined = {
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 12
    assert [name for name in named if name not in defined] == []


def test_configuration_page_is_current() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == configuration.markdown(), "docs/configuration.md is outdated: run `make docs`"


def test_configuration_page_has_effect_and_default_of_every_setting() -> None:
    rows = {
        cells[1]: cells
        for line in configuration.markdown().splitlines()
        if len(cells := [cell.strip(" `") for cell in line.split("|")]) > 6
    }
    for name in Settings.model_fields:
        _, _, effect, kind, default, *_ = rows[variable(name)]
        assert effect
        assert kind
        assert default or "Default: " in effect

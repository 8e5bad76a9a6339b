"""What the documents say is there."""

import re

from tests.support.processes import ROOT


def test_every_test_that_the_pains_name_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/pains.md").read_text(encoding="utf-8"))
    files = (ROOT / "tests/service").rglob("test_*.py")
    defined = {
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 12
    assert [name for name in named if name not in defined] == []

"""Tests of the report: sections are independent, and figures have their range."""

from pathlib import Path

from benchmarks.harness.report import (
    HEAD,
    PERFORMANCE,
    describe_run,
    markdown_table,
    median_range,
    write_section,
)
from benchmarks.harness.server_process import ROOT


def test_a_section_is_replaced_and_the_others_are_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "performance.md"
    write_section("Serving", "slow\n\n### Inside\n\nmore", file)
    write_section("Search", "near", file)
    write_section("Serving", "fast", file)
    assert file.read_text() == f"{HEAD}\n## Serving\n\nfast\n\n## Search\n\nnear\n"


def test_sections_have_a_fixed_order(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    for name in ("Something new", "Start and memory", "Search", "Serving"):
        write_section(name, name.lower(), file)
    order = [line for line in file.read_text().splitlines() if line.startswith("## ")]
    assert order == ["## Serving", "## Search", "## Start and memory", "## Something new"]


def test_writing_a_section_again_leaves_the_document_unchanged(tmp_path: Path) -> None:
    document = (ROOT / PERFORMANCE).read_text(encoding="utf-8")
    file = tmp_path / "performance.md"
    file.write_text(document, encoding="utf-8")
    section = document.split("\n## Serving\n")[1].split("\n## ")[0]
    write_section("Serving", section, file)
    assert file.read_text(encoding="utf-8") == document


def test_a_range_is_the_median_with_the_lowest_and_the_highest() -> None:
    assert median_range([3.0, 1.0, 1200.0]) == "3 (1 to 1,200)"
    assert median_range([0.123], 2) == "0.12"


def test_figures_are_right_aligned_in_a_table() -> None:
    assert (
        markdown_table(("", "ms"), [("flat", "16")]) == "|  | ms |\n| --- | ---: |\n| flat | 16 |"
    )


def test_a_section_names_its_command_its_machine_and_its_versions() -> None:
    paragraph = describe_run("python -m benchmarks.serving", ["litserve 1.2.3"])
    assert paragraph.startswith("`python -m benchmarks.serving`")
    assert "cores" in paragraph
    assert "torch" in paragraph
    assert "litserve 1.2.3" in paragraph

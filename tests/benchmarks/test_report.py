"""The document: sections that do not touch each other, and figures that say their spread."""

from pathlib import Path

from benchmarks.harness.report import HEAD, spread, table, where, write_section


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "performance.md"
    write_section("Serving", "slow\n\n### Inside\n\nmore", file)
    write_section("Search", "near", file)
    write_section("Serving", "fast", file)
    assert file.read_text() == f"{HEAD}\n## Serving\n\nfast\n\n## Search\n\nnear\n"


def test_sections_have_one_order_whoever_is_written_first(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    for name in ("Something new", "Start and memory", "Search", "Serving"):
        write_section(name, name.lower(), file)
    order = [line for line in file.read_text().splitlines() if line.startswith("## ")]
    assert order == ["## Serving", "## Search", "## Start and memory", "## Something new"]


def test_a_spread_is_the_median_between_the_lowest_and_the_highest() -> None:
    assert spread([3.0, 1.0, 1200.0]) == "3 (1 to 1,200)"
    assert spread([0.123], 2) == "0.12"


def test_a_table_sets_figures_right() -> None:
    assert table(("", "ms"), [("flat", "16")]) == "|  | ms |\n| --- | ---: |\n| flat | 16 |"


def test_a_section_says_what_was_run_and_where() -> None:
    said = where("python -m benchmarks.serving", ["litserve 1.2.3"])
    assert said.startswith("`python -m benchmarks.serving`")
    assert "cores" in said
    assert "torch" in said
    assert "litserve 1.2.3" in said

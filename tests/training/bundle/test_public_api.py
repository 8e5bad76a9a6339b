"""`training.bundle` exports what a program that loads bundles uses, and nothing else."""

import ast
from pathlib import Path

from training import bundle

ROOT = Path(__file__).parents[3]


def names_imported_by(package: str) -> set[str]:
    """Return the names that a package imports from `training.bundle`."""
    return {
        alias.name
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "training.bundle"
        for alias in node.names
    }


def test_every_exported_name_exists() -> None:
    assert [name for name in bundle.__all__ if not hasattr(bundle, name)] == []


def test_exports_are_the_names_that_the_service_uses_and_the_gallery_type() -> None:
    assert set(bundle.__all__) == names_imported_by("service") | {"Gallery"}


def test_benchmarks_import_exported_names_only() -> None:
    assert names_imported_by("benchmarks") <= set(bundle.__all__)

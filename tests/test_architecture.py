"""The arrows between the houses, read off the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, by full name; `from a import b` counts as `a.b` too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(house: str) -> list[Path]:
    return sorted((ROOT / house).rglob("*.py"))


@pytest.mark.parametrize("file", files("service"), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_service_enters_training_by_its_one_door(file: Path) -> None:
    inward = [name for name in imports(file) if name.split(".")[0] == "training"]
    assert all((name + ".").startswith("training.bundle.") for name in inward)


@pytest.mark.parametrize("file", files("training"), ids=lambda file: str(file.relative_to(ROOT)))
def test_training_knows_nothing_of_the_service(file: Path) -> None:
    roots = {name.split(".")[0] for name in imports(file)}
    assert roots.isdisjoint({"service", "fastapi", "starlette", "uvicorn"})


@pytest.mark.parametrize(
    "file", files("service/http/routes"), ids=lambda file: str(file.relative_to(ROOT))
)
def test_routes_know_nothing_of_torch(file: Path) -> None:
    assert {"torch", "faiss"}.isdisjoint({name.split(".")[0] for name in imports(file)})


def test_the_engine_knows_nothing_of_http() -> None:
    roots = {name.split(".")[0] for name in imports(ROOT / "service/engine/engine.py")}
    assert roots.isdisjoint({"fastapi", "starlette", "uvicorn", "httpx"})


@pytest.mark.parametrize("house", ["service", "training", "tests"])
def test_every_module_says_what_it_is_for(house: str) -> None:
    silent = [file for file in files(house) if not ast.get_docstring(ast.parse(file.read_text()))]
    assert silent == []

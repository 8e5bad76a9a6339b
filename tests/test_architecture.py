"""The allowed imports between packages, as a table; see the picture in ARCHITECTURE.md.

Reads the imports of every file. A package may import those that its arrows reach.
"""

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ARROWS = {
    "service.__main__": "service.cli",
    "service.cli": "service.app",
    "service.app": "service.http",
    "service.http": "service.server",
    "service.server": "service.state",
    "service.state": "service.settings service.retrieval",
    "service.settings": "service.engine service.environment",
    "service.retrieval": "service.engine service.schemas",
    "service.engine": "service.gallery",
    "service.gallery": "service.images service.vectors service.schemas",
    "service.images": "service.errors training.bundle",
    "service.vectors": "training.bundle",
    "service.client": "kindred",
    "kindred": "service.schemas",
    "service.schemas": "training.bundle",  # `model` alone, as tested below
    "training.__main__": "training.cli",
    "training.cli": "training.workflows",
    "training.workflows": "training.trainer training.embedding",
    "training.embedding": "training.bundle",
    "training.trainer": "training.experiments",
    "training.bundle": "training.experiments",
    "training.experiments": "training.models",
    "training.models": "training.data training.index",
    "training.data": "training.base_model",
    "training.index": "training.base_model",
    "benchmarks.serving": "benchmarks.peers service.app service.telemetry training.workflows",
    "benchmarks.peers": "benchmarks.harness",
    "benchmarks.search": "benchmarks.harness service.settings service.retrieval training.workflows",
    "benchmarks.page": "benchmarks.harness",
    "benchmarks.training": "benchmarks.harness training.workflows",
    "benchmarks.human": "training.workflows",
    "benchmarks.harness": "training.bundle",
}
"""Each package, and the packages directly below it."""
COMMON = {"service.errors", "service.telemetry", "service.concurrency", "service.resources"}
"""Packages that import no other, and that all of `service` but `schemas` and `client` may use."""
HTTP = {"fastapi", "starlette", "uvicorn", "httpx"}
ALL = ("kindred", "service", "training", "benchmarks")


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for folder in ALL for file in files(folder)}


@cache
def imports(file: Path) -> frozenset[str]:
    """Return the modules that a file imports, by full name."""
    return frozenset(_imports(file))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            assert node.module is not None
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def roots(file: Path) -> set[str]:
    """Return the distributions and top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(file)}


def package(module: str) -> str:
    """Return the package of a module: the first two parts of its name, or `kindred`."""
    parts = module.split(".")[:2]
    return "kindred" if parts[0] == "kindred" else ".".join(parts)


def reachable(name: str) -> set[str]:
    """Return all packages that the arrows reach from one."""
    below = set(ARROWS.get(name, "").split())
    return below.union(*map(reachable, below))


@pytest.mark.parametrize("name", sorted({package(module) for module in MODULES} - set(ALL)))
def test_packages_import_along_the_arrows(name: str) -> None:
    allowed = reachable(name) | {name}
    if name.startswith("service.") and name not in COMMON | {"service.client", "service.schemas"}:
        allowed |= COMMON
    found = {
        f"{module} imports {target}"
        for module, file in MODULES.items()
        if package(module) == name
        for target in imports(file)
        if target.split(".")[0] in (*ALL, "tests") and package(target) not in allowed
    }
    assert found == set()


def test_the_arrows_have_no_cycle_and_name_packages_that_exist() -> None:
    order = graphlib.TopologicalSorter({name: below.split() for name, below in ARROWS.items()})
    assert set(order.static_order()) <= {package(module) for module in MODULES}


def test_files_have_no_import_cycle() -> None:
    inner = {name: imports(file) & (MODULES.keys() - {name}) for name, file in MODULES.items()}
    graphlib.TopologicalSorter(inner).prepare()


def test_the_service_imports_nothing_of_training_but_the_bundle() -> None:
    used = {name for file in files("service") for name in imports(file)}
    assert {name for name in used if name.split(".")[0] == "training"} == {
        "training.bundle",
        "training.bundle.network",  # where PyTorch runs the network
    }


def test_training_imports_neither_the_service_nor_an_http_library() -> None:
    used = {name for file in files("training") for name in roots(file)}
    assert used.isdisjoint({"service", "benchmarks", "tests"} | HTTP)


@pytest.mark.parametrize("folder", ["routes", "gate"])
def test_routes_and_gate_import_no_torch_or_faiss(folder: str) -> None:
    used = {name for file in files(f"service/http/{folder}") for name in roots(file)}
    assert used.isdisjoint({"torch", "faiss"})


@pytest.mark.parametrize("folder", ["engine", "gallery", "retrieval", "schemas"])
def test_the_core_imports_no_http_library(folder: str) -> None:
    used = {name for file in files(f"service/{folder}") for name in roots(file)}
    assert used.isdisjoint(HTTP)


def test_schemas_but_the_model_card_import_no_torch() -> None:
    for file in files("service/schemas"):
        if file.stem != "model":
            assert roots(file).isdisjoint({"torch", "faiss", "training"})
            assert "service.schemas.model" not in imports(file)


@pytest.mark.parametrize("folder", [*ALL, "tests"])
def test_every_module_has_a_docstring(folder: str) -> None:
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files(folder)}
    assert [file for file, tree in trees.items() if not ast.get_docstring(tree)] == []

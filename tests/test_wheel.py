"""The package as others install it: a wheel in an empty environment, used from another folder."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processes import ROOT, running_server, serve_command

UV = (sys.executable, "-m", "uv")
HEAVY = {"torch", "numpy", "faiss-cpu", "fastapi", "typer", "openvino"}


def run(*command: str | Path, cwd: Path = ROOT, status: int = 0) -> str:
    """Run a command; return all that it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    if "Failed to fetch" in done.stdout:
        pytest.skip(f"packages cannot be installed here: {done.stdout[-300:]}")
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy, because building leaves files in the source."""
    source = tmp_path_factory.mktemp("source")
    for name in ("kindred", "service", "training"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(*UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, cwd=source)
    (built,) = (source / "dist").glob("kindred-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel alone."""
    environment = tmp_path_factory.mktemp("empty") / "env"
    run(*UV, "venv", "--python", sys.executable, environment)
    run(*UV, "pip", "install", "--python", environment / "bin/python", wheel)
    return environment / "bin"


@pytest.fixture(scope="module")
def url(bundle_path: Path) -> Iterator[str]:
    with running_server(serve_command(bundle_path)) as http:
        yield str(http.base_url)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside the checkout, with the images of the examples."""
    for name in ("cat.png", "dog.png"):
        Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / name)
    return tmp_path


def python_of(document: str) -> list[str]:
    """Return the Python code of a document, block by block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_client_brings_three_packages_and_what_they_need(installed: Path) -> None:
    listed = run(*UV, "pip", "list", "--python", installed / "python")
    names = set(re.findall(r"^([a-z][\w-]*) +\d", listed, re.MULTILINE))
    assert {"kindred", "httpx", "pydantic", "pillow"} <= names
    assert not HEAVY & names


@pytest.mark.parametrize("document", ["README.md", "docs/api.md"])
def test_the_python_of_a_document_runs_outside_the_checkout(
    document: str, installed: Path, url: str, elsewhere: Path
) -> None:
    blocks = python_of(document)
    assert blocks
    for number, block in enumerate(blocks):
        assert "import kindred" in block
        program = elsewhere / f"program{number}.py"
        program.write_text(block.replace("http://localhost:8000", url))
        assert run(installed / "python", program, cwd=elsewhere)


def test_embeddings_need_no_numpy(installed: Path, url: str, elsewhere: Path) -> None:
    code = (
        "import kindred, sys; client = kindred.Client(sys.argv[1]); "
        "print(len(client.embed('cat.png', layer='penultimate')), "
        "len(client.embed_many(['cat.png', 'dog.png'])))"
    )
    assert run(installed / "python", "-c", code, url, cwd=elsewhere) == "512 2\n"


def test_the_command_asks_and_adds(installed: Path, url: str, elsewhere: Path) -> None:
    kindred = installed / "kindred"
    assert "similar at conv2" in run(kindred, "predict", "cat.png", "--url", url, cwd=elsewhere)
    found = run(kindred, "similar", "cat.png", "--limit", "3", "--url", url, cwd=elsewhere)
    assert len(found.splitlines()) == 3
    added = run(kindred, "add", ".", "--url", url, cwd=elsewhere)
    assert added == "2 added, 0 were there already, 0 refused\n"


@pytest.mark.parametrize(
    ("command", "extra"), [("serve", "serve"), ("export", "serve"), ("train", "train")]
)
def test_the_other_commands_say_what_to_install(
    command: str, extra: str, installed: Path, elsewhere: Path
) -> None:
    printed = run(installed / "kindred", command, cwd=elsewhere, status=1)
    assert re.fullmatch(
        rf"error: '{command}' needs \w+: pip install 'kindred\[{extra}\]'\n", printed
    )


def test_type_checkers_read_its_types(installed: Path, elsewhere: Path) -> None:
    program = elsewhere / "typed.py"
    program.write_text("import kindred\nreveal_type(kindred.Client().predict('cat.png'))\n")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python")
    checked = run(*mypy, program, cwd=elsewhere)
    assert 'Revealed type is "service.schemas.images.PredictResponse"' in checked

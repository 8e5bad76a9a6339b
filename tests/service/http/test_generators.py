"""Generators make clients of the OpenAPI document without a warning, and the examples in it run.

The generators are installed by uv and npm, into environments of their own: they need other versions
of our dependencies.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.operations import OPERATIONS
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file
from tests.support.processes import running_app

ASK = """
import sys
from client import Client
from client.api.gallery import gallery_list
from client.api.images import classify
from client.models import ImageForm
from client.types import File

with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as client:
    with open(sys.argv[2], "rb") as file:
        answer = classify.sync(client=client, body=File(payload=file), top_k=1)
    print(answer.predictions[0].label)
    with open(sys.argv[2], "rb") as file:
        form = ImageForm(file=[File(payload=file, file_name="image.png")])
        print(classify.sync(client=client, body=form, top_k=1).predictions[0].label)
    print(len(gallery_list.sync(client=client, limit=2, filter_=["shelf:3"]).items))
    print(gallery_list.sync(client=client, limit=1000).title)
"""


NOT_INSTALLED = re.compile(r"Failed to fetch|No solution found|npm (error|ERR!)")


def run(*command: str | Path, **options: Any) -> str:  # Any: options of `subprocess.run`
    """Run a command and return all that it prints; skip the test if it cannot be installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
        **options,
    )
    if done.returncode and NOT_INSTALLED.search(done.stdout):
        pytest.skip(f"the generator cannot be installed here: {done.stdout[-300:]}")
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


def tool(package: str, program: str) -> list[str | Path]:
    """Return the command that runs a program of a Python package, installed by uv."""
    return [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", package, program]


@pytest.fixture(scope="module")
def service(make_app: MakeApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a gallery of its own, because the examples add images."""
    gallery = str(tmp_path_factory.mktemp("gallery"))
    with running_app(make_app(gallery=gallery)) as running:
        yield running


@pytest.fixture(scope="module")
def document(service: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("openapi") / "openapi.json"
    file.write_text(service.get("/openapi.json").text)
    return file


def test_a_client_of_openapi_python_client_asks_for_a_class(
    service: httpx.Client, document: Path, tmp_path: Path
) -> None:
    command = tool("openapi-python-client==0.29.1", "openapi-python-client")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))  # those format, by programs in PATH
    printed = run(
        *(*command, "generate", "--path", document, "--config", config),
        *("--output-path", tmp_path / "client", "--meta", "none"),
    )
    assert "warning" not in printed.lower()
    assert "unable" not in printed.lower()
    image = tmp_path / "image.png"
    image.write_bytes(image_file())
    asked = run(
        *(sys.executable, "-c", ASK, str(service.base_url), image),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    answer = service.post("/classify?top_k=1", content=image_file()).json()
    label = answer["predictions"][0]["label"]
    assert asked.split("\n") == [label, label, "0", "Invalid parameter", ""]


def test_datamodel_codegen_makes_models(document: Path, tmp_path: Path) -> None:
    command = tool("datamodel-code-generator==0.89.0", "datamodel-codegen")
    models = tmp_path / "models.py"
    printed = run(
        *(*command, "--input", document, "--input-file-type", "openapi", "--output", models),
        *("--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin"),
    )
    assert printed == ""
    run(sys.executable, "-c", "import models; models.PredictResponse", cwd=tmp_path)


def test_openapi_typescript_makes_types(document: Path, tmp_path: Path) -> None:
    package = "openapi-typescript@7.13.0"
    command: list[str | Path] = [
        "npm",
        "exec",
        "--yes",
        f"--package={package}",
        "--",
        "openapi-typescript",
    ]
    printed = run(*command, document, "-o", tmp_path / "api.ts")
    assert "warn" not in printed.lower()
    assert "gallery_add" in (tmp_path / "api.ts").read_text()


def test_every_operation_has_a_written_name(document: Path) -> None:
    paths = json.loads(document.read_text())["paths"]
    found = {
        f"{method.upper()} {path}": (operation["operationId"], operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert found == OPERATIONS
    assert len({name for name, _ in OPERATIONS.values()}) == len(OPERATIONS)


def test_examples_of_bodies_run(service: httpx.Client, document: Path) -> None:
    paths = json.loads(document.read_text())["paths"]
    version = service.get("/v2/models/kindred").json()["versions"][0]
    sent = 0
    for path, operations in paths.items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            json_body = content.get("application/json", {})
            examples = [one["value"] for one in json_body.get("examples", {}).values()]
            if "example" in json_body:
                examples.append(json_body["example"])
            for example in examples:
                url = path.format(image_id="example-of-a-body", version=version)
                response = service.request(method, url, json=example)
                assert response.is_success, (method, path, response.text)
                if response.headers["content-type"] == "application/json":
                    assert not any("error" in one for one in response.json().get("results", ()))
                sent += 1
    assert sent >= 13

"""The systems that `benchmarks.serving` compares: how each one starts, and a request to it.

A request has the form of the system's documentation, or a cheaper one if there is one.
"""

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness.environment import PEERS
from benchmarks.harness.load_generator import Address, post
from benchmarks.harness.server_process import Server, free_address
from benchmarks.harness.workload import Task
from benchmarks.peers import model
from benchmarks.peers.model import Index


@dataclass(frozen=True)
class System:
    """A server: its command, the path with status 200 when it is ready, and its requests.

    `threads` is the number that torch and FAISS have in each thread that calls them.
    """

    name: str
    command: Callable[[Address, Path], list[str | Path]]
    ready: str
    request: Callable[[Address, Task, bytes], bytes]
    threads: int | None = None

    def start(
        self,
        bundle: Path,
        task: Task,
        index: Index,
        environment: Mapping[str, str] | None = None,
    ) -> Server:
        """Start the server on a bundle, for one task, with these environment variables added.

        Raises:
            ServerError: the server does not start.

        """
        address = free_address()
        variables = {
            model.BUNDLE: str(bundle.resolve()),
            model.TASK: task,
            model.INDEX: index,
            "BENTOML_DO_NOT_TRACK": "True",
            **(environment or {}),
        }
        if self.threads:
            variables["OMP_NUM_THREADS"] = str(self.threads)
        return Server(self.command(address, bundle), address, self.ready, variables)


def _service(address: Address, bundle: Path) -> list[str | Path]:
    serve: list[str | Path] = [sys.executable, "-m", "service", "--bundle", bundle]
    return [*serve, "--port", str(address.port)]


def _module(name: str) -> Callable[[Address, Path], list[str | Path]]:
    python = PEERS / "python"
    return lambda address, _: [python, "-m", f"benchmarks.peers.{name}", str(address.port)]


def _bentoml(address: Address, _: Path) -> list[str | Path]:
    app = "benchmarks.peers.bentoml_app:ModelService"
    serve: list[str | Path] = [PEERS / "bentoml", "serve", app]
    return [*serve, "--host", address.host, "--port", str(address.port)]


def _kindred_request(address: Address, task: Task, png: bytes) -> bytes:
    path = "/classify" if task == "class" else "/predict?layers=conv2"
    return post(address, path, png, "image/png")


def _raw_request(address: Address, _: Task, png: bytes) -> bytes:
    return post(address, "/predict", png, "image/png")


def _json_request(
    make: Callable[[str], Mapping[str, object]],
) -> Callable[[Address, Task, bytes], bytes]:
    def request(address: Address, _: Task, png: bytes) -> bytes:
        body = json.dumps(make(base64.b64encode(png).decode())).encode()
        return post(address, "/predict", body, "application/json")

    return request


KINDRED: Final = System("kindred", _service, "/readyz", _kindred_request)

CORES: Final = max(1, (os.cpu_count() or 1) // model.WORKERS)
"""The cores of each worker of a batching peer."""

PEER_SYSTEMS: Final = (
    System("FastAPI, thread pool", _module("fastapi_app"), "/health", _raw_request, 1),
    System(
        "LitServe",
        _module("litserve_app"),
        "/health",
        _json_request(lambda text: {"image": text}),
        CORES,
    ),
    System("BentoML", _bentoml, "/readyz", _json_request(lambda text: {"images": [text]}), CORES),
)

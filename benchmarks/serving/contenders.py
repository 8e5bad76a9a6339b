"""Who takes part in `benchmarks.serving`: how each is started, and what a request to it is.

Requests take the form that each one's documentation shows, or a cheaper one where there is one.
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
    """A server: the command that starts it, the path that is 200 when it is ready, a request.

    `threads` is how many torch and FAISS may have in each of its threads that call them.
    """

    name: str
    command: Callable[[Address, Path], list[str | Path]]
    ready: str
    request: Callable[[Address, Task, bytes], bytes]
    threads: int | None = None

    def start(self, bundle: Path, task: Task, index: Index) -> Server:
        """Start it on a bundle, for one task.

        Raises:
            ServerError: it does not start.

        """
        address = free_address()
        serves = {model.BUNDLE: str(bundle.resolve()), model.TASK: task, model.INDEX: index}
        environment = serves | {"BENTOML_DO_NOT_TRACK": "True"}
        if self.threads:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        return Server(self.command(address, bundle), address, self.ready, environment)


def _service(address: Address, bundle: Path) -> list[str | Path]:
    serve: list[str | Path] = [sys.executable, "-m", "service", "--bundle", bundle]
    return [*serve, "--port", str(address.port)]


def _module(name: str) -> Callable[[Address, Path], list[str | Path]]:
    return lambda address, _: [
        PEERS / "python",
        "-m",
        f"benchmarks.peers.{name}",
        str(address.port),
    ]


def _bentoml(address: Address, _: Path) -> list[str | Path]:
    serve: list[str | Path] = [
        PEERS / "bentoml",
        "serve",
        "benchmarks.peers.bentoml_app:ModelService",
    ]
    return [*serve, "--host", address.host, "--port", str(address.port)]


def _to_ours(address: Address, task: Task, png: bytes) -> bytes:
    path = "/classify" if task == "class" else "/predict?layers=conv2"
    return post(address, path, png, "image/png")


def _raw(address: Address, _: Task, png: bytes) -> bytes:
    return post(address, "/predict", png, "image/png")


def _json(make: Callable[[str], Mapping[str, object]]) -> Callable[[Address, Task, bytes], bytes]:
    def request(address: Address, _: Task, png: bytes) -> bytes:
        body = json.dumps(make(base64.b64encode(png).decode())).encode()
        return post(address, "/predict", body, "application/json")

    return request


KINDRED: Final = System("kindred", _service, "/readyz", _to_ours)

SHARE: Final = max(1, (os.cpu_count() or 1) // model.WORKERS)

PEER_SYSTEMS: Final = (
    System("FastAPI, thread pool", _module("plain"), "/health", _raw, 1),
    System("LitServe", _module("lit"), "/health", _json(lambda text: {"image": text}), SHARE),
    System("BentoML", _bentoml, "/readyz", _json(lambda text: {"images": [text]}), SHARE),
)

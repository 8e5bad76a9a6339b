"""Who takes part in `benchmarks.serving`: how each is started, and what a request to it is.

Requests take the form that each one's documentation shows, or a cheaper one where there is one.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load import Address, post
from benchmarks.peers import kin
from benchmarks.peers.kin import Index
from benchmarks.queries import Task
from benchmarks.servers import ROOT, Server, free_address

PEERS: Final = ROOT / ".venv-peers/bin"


class PeersMissingError(RuntimeError):
    """The peers are not installed; the message says how they are."""


@dataclass(frozen=True)
class Contender:
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
        serves = {kin.BUNDLE: str(bundle.resolve()), kin.TASK: task, kin.INDEX: index}
        environment = serves | {"BENTOML_DO_NOT_TRACK": "True"}
        if self.threads:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        return Server(self.command(address, bundle), address, self.ready, environment)


def versions(packages: Sequence[str]) -> list[str]:
    """Versions of packages in the peers' environment, as `name version`.

    Raises:
        PeersMissingError: it has not been made.

    """
    if not PEERS.exists():
        raise PeersMissingError("the peers are missing: make .venv-peers/installed")
    say = "import importlib.metadata as m, sys; [print(n, m.version(n)) for n in sys.argv[1:]]"
    answer = subprocess.run(  # noqa: S603 - a fixed command
        [PEERS / "python", "-c", say, *packages], capture_output=True, text=True, check=True
    )
    return answer.stdout.splitlines()


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
    serve: list[str | Path] = [PEERS / "bentoml", "serve", "benchmarks.peers.bento:KinService"]
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


KINDRED: Final = Contender("kindred", _service, "/readyz", _to_ours)
SHARE: Final = max(1, (os.cpu_count() or 1) // kin.WORKERS)
RIVALS: Final = (
    Contender("FastAPI, thread pool", _module("plain"), "/health", _raw, 1),
    Contender("LitServe", _module("lit"), "/health", _json(lambda text: {"image": text}), SHARE),
    Contender("BentoML", _bentoml, "/readyz", _json(lambda text: {"images": [text]}), SHARE),
)

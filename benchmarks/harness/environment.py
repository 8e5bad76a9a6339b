"""Reads package versions from the environment of the peers."""

import subprocess
from collections.abc import Sequence
from typing import Final

from benchmarks.harness.server_process import ROOT

PEERS: Final = ROOT / ".venv-peers/bin"


class PeersMissingError(RuntimeError):
    """The peers' environment does not exist; the message has the command that makes it."""


def versions(packages: Sequence[str]) -> list[str]:
    """Return the versions of packages in the peers' environment, as `name version`.

    Raises:
        PeersMissingError: the environment does not exist.

    """
    if not PEERS.exists():
        raise PeersMissingError("the peers are not installed: run make .venv-peers/installed")
    script = "import importlib.metadata as m, sys; [print(n, m.version(n)) for n in sys.argv[1:]]"
    done = subprocess.run(  # noqa: S603 - a fixed command
        [PEERS / "python", "-c", script, *packages], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()

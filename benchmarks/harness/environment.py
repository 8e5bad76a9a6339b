"""Reads the versions of the systems under test."""

import subprocess
from collections.abc import Sequence
from typing import Final

from benchmarks.harness.server_process import ROOT

PEERS: Final = ROOT / ".venv-peers/bin"


class PeersMissingError(RuntimeError):
    """The peers are not installed; the message says how they are."""


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

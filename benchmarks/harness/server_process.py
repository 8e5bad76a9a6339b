"""Servers as processes: started, waited for, held still while another has its turn, stopped.

Needs Linux, for `/proc`. Knows processes; nothing of what is served.
"""

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

from benchmarks.harness.load_generator import Address

ROOT: Final = Path(__file__).parents[2]
STARTING: Final = 120.0
STOPPING: Final = 15.0
"""Seconds that a server may take until it is ready, and until it has stopped."""


class ServerError(RuntimeError):
    """The server did not start; the message has what it said."""


class Server:
    """A server in processes of its own, ready; `seconds` is what it took from its command."""

    def __init__(
        self,
        command: Sequence[str | Path],
        address: Address,
        ready: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, and return when it is ready.

        Args:
            command: what starts it.
            address: where it will listen.
            ready: the path that answers 200 when it is ready.
            environment: added to this process's own.

        Raises:
            ServerError: it ended before it was ready, or did not become so.

        """
        self.address = address
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 - the benchmarks' own commands
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_until_ready(ready)
        except BaseException:
            self.stop()
            raise
        self.seconds = time.perf_counter() - started

    def __enter__(self) -> Self:
        """Give the running server."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop it."""
        self.stop()

    def pause(self) -> None:
        """Let none of its processes run: it shall not disturb another's turn."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them run again."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and whatever it started."""
        self.resume()
        family = family_of(self.pid)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOPPING)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        """Of the process that the command started."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Memory that its processes hold; what several share counts for each."""
        return sum(memory_bytes(pid) for pid in family_of(self.pid))

    def _send(self, which: signal.Signals) -> None:
        for pid in family_of(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    def _wait_until_ready(self, path: str) -> None:
        until = time.perf_counter() + STARTING
        while time.perf_counter() < until:
            if self._process.poll() is not None:
                raise ServerError(f"the server ended before it was ready:\n{self._output()}")
            if _answers(self.address, path):
                return
            time.sleep(0.01)
        raise ServerError(f"the server was not ready in {STARTING:g} s:\n{self._output()}")

    def _output(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")


def free_address() -> Address:
    """An address of this machine at which nothing listens yet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return Address(*listener.getsockname())


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    family = [pid]
    for member in family:  # grows while it is read
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):  # it has just ended
                family += map(int, task.read_text().split())
    return family


def memory_bytes(pid: int, kind: str = "VmRSS") -> int:
    """Memory of a process, as its `/proc` status names the kind; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024
    return 0


def _answers(address: Address, path: str) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

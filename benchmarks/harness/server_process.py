"""Servers as child processes: started, suspended by signals between measurements, stopped.

Needs Linux, for `/proc`. Knows processes, but not what the servers do.
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
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 15.0
"""Seconds that a server may take to become ready, and to end after SIGTERM."""


class ServerError(RuntimeError):
    """The server did not start; the message has its output."""


class Server:
    """A server in its own processes, ready. `startup_seconds` counts from its command."""

    def __init__(
        self,
        command: Sequence[str | Path],
        address: Address,
        ready: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the server, and return when it is ready.

        Args:
            command: starts the server.
            address: at which the server will listen.
            ready: the path that has status 200 when the server is ready.
            environment: variables added to those of this process.

        Raises:
            ServerError: the server ended before it was ready, or was not ready in time.

        """
        self.address = address
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 - the benchmarks' own commands
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_until_ready(ready)
        except BaseException:
            self.stop()
            raise
        self.startup_seconds = time.perf_counter() - started

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop the server."""
        self.stop()

    def pause(self) -> None:
        """Suspend all processes of the server, so that they use no CPU."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue all processes of the server."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server and all processes that it started."""
        self.resume()
        tree = process_tree(self.pid)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_TIMEOUT)
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{self.address.host}:{self.address.port}"

    @property
    def pid(self) -> int:
        """The process that the command started."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """The resident memory of all its processes; shared pages count for each process."""
        return sum(memory_bytes(pid) for pid in process_tree(self.pid))

    @property
    def loop_seconds(self) -> float:
        """The CPU seconds of its first thread, which runs the event loop of our service.

        They depend less on the load of the machine than the time of a request does.
        """
        return thread_seconds(self.pid, self.pid)

    def _signal(self, number: signal.Signals) -> None:
        for pid in process_tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait_until_ready(self, path: str) -> None:
        until = time.perf_counter() + START_TIMEOUT
        while time.perf_counter() < until:
            if self._process.poll() is not None:
                raise ServerError(f"the server ended before it was ready:\n{self._output()}")
            if _is_ready(self.address, path):
                return
            time.sleep(0.01)
        raise ServerError(f"the server was not ready in {START_TIMEOUT:g} s:\n{self._output()}")

    def _output(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")


def free_address() -> Address:
    """Return an address of this machine at which nothing listens yet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return Address(*listener.getsockname())


def process_tree(pid: int) -> list[int]:
    """Return a process and all its descendants, the process first."""
    tree = [pid]
    for member in tree:  # grows during the loop
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):  # the thread has just ended
                tree += map(int, task.read_text().split())
    return tree


def memory_bytes(pid: int, kind: str = "VmRSS") -> int:
    """Read the memory of a process, by a name of `/proc/PID/status`; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024
    return 0


def thread_seconds(pid: int, thread: int) -> float:
    """Read the CPU seconds of a thread, to the nanosecond."""
    running = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii").split()[0]
    return int(running) / 1e9


def _is_ready(address: Address, path: str) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

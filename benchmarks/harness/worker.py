"""A worker process that measures on request, with one line of JSON in each direction.

Memory and caches of one measurement stay apart from those of another.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel

from benchmarks.harness.server_process import ROOT

Request = TypeVar("Request", bound=BaseModel)
Reply = TypeVar("Reply", bound=BaseModel)


class WorkerError(RuntimeError):
    """The process ended without a reply; its standard error has the cause."""


class Worker:
    """A handle to the worker process, for the process that sends requests."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the benchmarks' own commands
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return the handle of the running process."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the worker's input and wait for its end."""
        self._process.communicate()

    def call(self, request: BaseModel, reply: type[Reply]) -> Reply:
        """Send a request, and wait for the reply.

        Raises:
            WorkerError: the process has ended.

        """
        assert self._process.stdin  # noqa: S101 - a pipe
        print(request.model_dump_json(), file=self._process.stdin, flush=True)
        return self.receive(reply)

    def receive(self, reply: type[Reply]) -> Reply:
        """Wait for the next message of the worker.

        Raises:
            WorkerError: the process has ended.

        """
        assert self._process.stdout  # noqa: S101 - a pipe
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"ended without a reply: {self._process.args!r}")
        return reply.model_validate_json(line)


def serve(request: type[Request], handle: Callable[[Request], BaseModel]) -> None:
    """Handle the requests on standard input until it ends."""
    for line in sys.stdin:
        send(handle(request.model_validate_json(line)))


def send(message: BaseModel) -> None:
    """Write a message as one line on standard output."""
    print(message.model_dump_json(), flush=True)

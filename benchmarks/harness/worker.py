"""A process that measures when it is asked, a line of JSON each way.

Nothing else that it holds or heats is in the way of what another one measures in its turn.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel

from benchmarks.harness.server_process import ROOT

Question = TypeVar("Question", bound=BaseModel)
Reply = TypeVar("Reply", bound=BaseModel)


class WorkerError(RuntimeError):
    """The process ended without a reply; why stands on standard error."""


class Worker:
    """The process, seen by who asks."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the benchmarks' own commands
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Give the running process."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End it."""
        self._process.communicate()

    def ask(self, question: BaseModel, reply: type[Reply]) -> Reply:
        """Ask, and wait for the reply.

        Raises:
            WorkerError: the process has ended.

        """
        assert self._process.stdin  # noqa: S101 - a pipe
        print(question.model_dump_json(), file=self._process.stdin, flush=True)
        return self.receive(reply)

    def receive(self, reply: type[Reply]) -> Reply:
        """Wait for what it says next.

        Raises:
            WorkerError: the process has ended.

        """
        assert self._process.stdout  # noqa: S101 - a pipe
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"ended without a reply: {self._process.args!r}")
        return reply.model_validate_json(line)


def serve(question: type[Question], reply: Callable[[Question], BaseModel]) -> None:
    """Answer what comes on standard input until it ends."""
    for line in sys.stdin:
        send(reply(question.model_validate_json(line)))


def send(something: BaseModel) -> None:
    """One line on standard output."""
    print(something.model_dump_json(), flush=True)

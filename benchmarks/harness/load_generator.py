"""Load on an HTTP server: requests made of bytes beforehand, over connections that stay open.

Closed: each connection asks again as soon as it has its answer. Open: requests fall due at random
times, whatever the server does, and their latency counts from then, so that no slow answer hides
what waited behind it. Answers are kept whole, to be looked at afterwards. Knows HTTP/1.1 alone.
"""

import asyncio
import gc
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final, cast

import numpy as np
import uvloop

PATIENCE: Final = 10.0
"""Seconds that an open load waits for answers after its last request fell due."""
NO_ANSWER: Final = 0
"""The status of a request whose connection was lost, or whose answer did not come in time."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Answer:
    """What came of the request at position `asked` of those given.

    `due` is when it was sent, or in an open load was to be sent; both times are readings of
    `time.perf_counter()`.
    """

    asked: int
    due: float
    done: float
    status: int
    body: bytes
    head: bytes = b""


@dataclass(frozen=True)
class Load:
    """The answers that count, over so many seconds; and how many cores making the load took."""

    answers: tuple[Answer, ...]
    seconds: float
    generator_cores: float

    @property
    def rate(self) -> float:
        """Answers of status 200 a second."""
        return sum(answer.status == 200 for answer in self.answers) / self.seconds

    def milliseconds(self, *percentiles: float) -> list[float]:
        """Latency at each of these percentiles, over all answers; inf where there are none."""
        if not self.answers:
            return [math.inf] * len(percentiles)
        seconds = np.array([answer.done - answer.due for answer in self.answers])
        found: list[float] = (np.percentile(seconds, percentiles) * 1000).tolist()
        return found


def post(address: Address, path: str, body: bytes, content_type: str) -> bytes:
    """A POST request, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def closed_loop(
    address: Address, requests: Sequence[bytes], connections: int, seconds: float, warmup: float
) -> Load:
    """Ask on every connection again and again; what is answered in `seconds` after `warmup` counts.

    Raises:
        OSError: nothing listens there.

    """

    async def run() -> Load:
        answers: list[Answer] = []
        numbers = count()
        opened = [await _open(address) for _ in range(connections)]
        with _without_pauses():
            begins = time.perf_counter() + warmup
            ends = begins + seconds

            def ask(connection: _Connection) -> None:
                asked, due = next(numbers) % len(requests), time.perf_counter()

                def answered(status: int, body: bytes, head: bytes) -> None:
                    done = time.perf_counter()
                    answers.append(Answer(asked, due, done, status, body, head))
                    if done < ends:
                        ask(connection)

                connection.ask(requests[asked], answered)

            for connection in opened:
                ask(connection)
            await asyncio.sleep(begins - time.perf_counter())
            busy = time.process_time()
            await asyncio.sleep(ends - time.perf_counter())
            busy = time.process_time() - busy
        counted = tuple(answer for answer in answers if begins <= answer.done < ends)
        ends = 0.0  # nothing more is asked
        for connection in opened:
            connection.close()
        return Load(counted, seconds, busy / seconds)

    return uvloop.run(run())


def open_loop(
    address: Address,
    requests: Sequence[bytes],
    connections: int,
    rate: float,
    seconds: float,
    seed: int = 0,
) -> Load:
    """Let `rate` requests a second fall due for `seconds`, at random; all of them count.

    What falls due while every connection is busy waits for one, its clock running.

    Raises:
        OSError: nothing listens there.

    """

    async def run() -> Load:
        arrivals = poisson(rate, seconds, seed)
        answers: list[Answer] = []
        idle = deque([await _open(address) for _ in range(connections)])
        opened = tuple(idle)
        waiting: deque[tuple[int, float]] = deque()
        all_answered = asyncio.Event()

        def ask(connection: _Connection, asked: int, due: float) -> None:
            def answered(status: int, body: bytes, head: bytes) -> None:
                answers.append(Answer(asked, due, time.perf_counter(), status, body, head))
                if len(answers) == len(arrivals):
                    all_answered.set()
                if waiting:
                    ask(connection, *waiting.popleft())
                else:
                    idle.append(connection)

            connection.ask(requests[asked], answered)

        with _without_pauses():
            started, busy = time.perf_counter(), time.process_time()
            for number, arrival in enumerate(arrivals):
                due = started + arrival
                if (early := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                if idle:
                    ask(idle.popleft(), number % len(requests), due)
                else:
                    waiting.append((number % len(requests), due))
            busy = time.process_time() - busy
            with suppress(TimeoutError):
                await asyncio.wait_for(all_answered.wait(), PATIENCE)
        given_up = time.perf_counter()
        answers += (Answer(asked, due, given_up, NO_ANSWER, b"") for asked, due in waiting)
        waiting.clear()
        for connection in opened:
            connection.close()
        return Load(tuple(answers), seconds, busy / seconds)

    return uvloop.run(run())


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times within `seconds` of a Poisson process, given that `rate * seconds` arrive."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return sorted(drawn.uniform(0, seconds) for _ in range(max(1, round(rate * seconds))))


Answered = Callable[[int, bytes, bytes], None]
"""Told the status, the body and the head of an answer."""


class _Connection(asyncio.Protocol):
    """One connection, at one request at a time; opened again where the server closed it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: Answered | None = None

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: self, self._address.host, self._address.port
        )

    def ask(self, request: bytes, answered: Answered) -> None:
        self._answered = answered
        if self._transport:
            self._transport.write(request)
        else:
            self._opening = asyncio.ensure_future(self._open_and_ask(request, answered))

    def close(self) -> None:
        """Hang up; a request under way ends without an answer."""
        if self._transport:
            self._transport.abort()
        self._end(NO_ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what TCP gives

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._received.clear()
        self._end(NO_ANSWER)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n") + 4
        if head < 4:
            return
        length = _LENGTH.search(self._received, 0, head)
        if length is None:
            raise ValueError(f"an answer without a length: {bytes(self._received[:head])!r}")
        if len(self._received) < (end := head + int(length[1])):
            return
        status, body = int(self._received[9:12]), bytes(self._received[head:end])
        said = bytes(self._received[:head])
        self._received.clear()
        self._end(status, body, said)

    async def _open_and_ask(self, request: bytes, answered: Answered) -> None:
        try:
            await self.open()
        except OSError:
            self._end(NO_ANSWER)
        else:
            self.ask(request, answered)

    def _end(self, status: int, body: bytes = b"", head: bytes = b"") -> None:
        answered, self._answered = self._answered, None
        if answered:
            answered(status, body, head)


async def _open(address: Address) -> _Connection:
    connection = _Connection(address)
    await connection.open()
    return connection


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Keep the garbage collector from stopping the clock's reader."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

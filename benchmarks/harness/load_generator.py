"""Generates HTTP/1.1 load: prepared requests over persistent connections.

Closed loop: each connection sends its next request when it has its response. Open loop: requests
fall due at random times, and latency counts from then, so waiting time is included (no coordinated
omission). Responses are kept whole, and checked after the measurement.
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

RESPONSE_TIMEOUT: Final = 10.0
"""Seconds that an open loop waits for responses after its last request fell due."""
NO_RESPONSE: Final = 0
"""The status of a request whose connection was lost, or whose response did not come in time."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """The host and port of a server."""

    host: str
    port: int


@dataclass(frozen=True)
class Response:
    """The response to the request at `request_index` of the prepared ones.

    `due` is the time at which the request was sent or, in an open loop, fell due. `due` and `done`
    are readings of `time.perf_counter()`.
    """

    request_index: int
    due: float
    done: float
    status: int
    body: bytes
    head: bytes = b""


@dataclass(frozen=True)
class Load:
    """The responses counted over `seconds`, and the mean CPU cores that the generator used."""

    responses: tuple[Response, ...]
    seconds: float
    generator_cores: float

    @property
    def rate(self) -> float:
        """Responses of status 200 per second."""
        return sum(response.status == 200 for response in self.responses) / self.seconds

    def latencies_ms(self, *percentiles: float) -> list[float]:
        """Compute the latency at each percentile, in milliseconds; inf without responses."""
        if not self.responses:
            return [math.inf] * len(percentiles)
        seconds = np.array([response.done - response.due for response in self.responses])
        found: list[float] = (np.percentile(seconds, percentiles) * 1000).tolist()
        return found


def post(address: Address, path: str, body: bytes, content_type: str) -> bytes:
    """Build the bytes of a POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def closed_loop(
    address: Address, requests: Sequence[bytes], connections: int, seconds: float, warmup: float
) -> Load:
    """Keep one request in flight on each connection; count `seconds` after `warmup`.

    Raises:
        OSError: nothing listens at the address.

    """

    async def run() -> Load:
        responses: list[Response] = []
        numbers = count()
        opened = [await _open(address) for _ in range(connections)]
        with _gc_disabled():
            begins = time.perf_counter() + warmup
            ends = begins + seconds

            def send_next(connection: _Connection) -> None:
                index, due = next(numbers) % len(requests), time.perf_counter()

                def on_response(status: int, body: bytes, head: bytes) -> None:
                    done = time.perf_counter()
                    responses.append(Response(index, due, done, status, body, head))
                    if done < ends:
                        send_next(connection)

                connection.send(requests[index], on_response)

            for connection in opened:
                send_next(connection)
            await asyncio.sleep(begins - time.perf_counter())
            busy = time.process_time()
            await asyncio.sleep(ends - time.perf_counter())
            busy = time.process_time() - busy
        counted = tuple(response for response in responses if begins <= response.done < ends)
        ends = 0.0  # so that closing a connection sends no further request
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
    """Let `rate` requests a second fall due at random for `seconds`, and count all of them.

    If every connection is busy, a due request waits for one; its latency includes the wait.

    Raises:
        OSError: nothing listens at the address.

    """

    async def run() -> Load:
        arrivals = poisson(rate, seconds, seed)
        responses: list[Response] = []
        idle = deque([await _open(address) for _ in range(connections)])
        opened = tuple(idle)
        waiting: deque[tuple[int, float]] = deque()
        all_done = asyncio.Event()

        def send(connection: _Connection, index: int, due: float) -> None:
            def on_response(status: int, body: bytes, head: bytes) -> None:
                responses.append(Response(index, due, time.perf_counter(), status, body, head))
                if len(responses) == len(arrivals):
                    all_done.set()
                if waiting:
                    send(connection, *waiting.popleft())
                else:
                    idle.append(connection)

            connection.send(requests[index], on_response)

        with _gc_disabled():
            started, busy = time.perf_counter(), time.process_time()
            for number, arrival in enumerate(arrivals):
                due = started + arrival
                if (early := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                if idle:
                    send(idle.popleft(), number % len(requests), due)
                else:
                    waiting.append((number % len(requests), due))
            busy = time.process_time() - busy
            with suppress(TimeoutError):
                await asyncio.wait_for(all_done.wait(), RESPONSE_TIMEOUT)
        ended = time.perf_counter()
        responses += (Response(index, due, ended, NO_RESPONSE, b"") for index, due in waiting)
        waiting.clear()
        for connection in opened:
            connection.close()
        return Load(tuple(responses), seconds, busy / seconds)

    return uvloop.run(run())


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the arrival times of a Poisson process, given that `rate * seconds` arrive."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return sorted(drawn.uniform(0, seconds) for _ in range(max(1, round(rate * seconds))))


OnResponse = Callable[[int, bytes, bytes], None]
"""Called with the status, the body and the head of a response."""


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight; reopened if the server closed it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._on_response: OnResponse | None = None

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: self, self._address.host, self._address.port
        )

    def send(self, request: bytes, on_response: OnResponse) -> None:
        self._on_response = on_response
        if self._transport:
            self._transport.write(request)
        else:
            self._opening = asyncio.ensure_future(self._open_and_send(request, on_response))

    def close(self) -> None:
        """Close the connection; a request in flight ends without a response."""
        if self._transport:
            self._transport.abort()
        self._end(NO_RESPONSE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the type that TCP has

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._received.clear()
        self._end(NO_RESPONSE)

    def data_received(self, data: bytes) -> None:
        self._received += data
        body_start = self._received.find(b"\r\n\r\n") + 4
        if body_start < 4:
            return
        length = _LENGTH.search(self._received, 0, body_start)
        head = bytes(self._received[:body_start])
        if length is None:
            raise ValueError(f"a response without Content-Length: {head!r}")
        if len(self._received) < (end := body_start + int(length[1])):
            return
        status, body = int(self._received[9:12]), bytes(self._received[body_start:end])
        self._received.clear()
        self._end(status, body, head)

    async def _open_and_send(self, request: bytes, on_response: OnResponse) -> None:
        try:
            await self.open()
        except OSError:
            self._end(NO_RESPONSE)
        else:
            self.send(request, on_response)

    def _end(self, status: int, body: bytes = b"", head: bytes = b"") -> None:
        on_response, self._on_response = self._on_response, None
        if on_response:
            on_response(status, body, head)


async def _open(address: Address) -> _Connection:
    connection = _Connection(address)
    await connection.open()
    return connection


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Disable the garbage collector, whose runs would delay the readings of the clock."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

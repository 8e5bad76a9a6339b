"""Tests of the load generator, on a small server whose responses each test chooses."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness import load_generator
from benchmarks.harness.load_generator import (
    NO_RESPONSE,
    Address,
    closed_loop,
    open_loop,
    poisson,
    post,
)

Writer = asyncio.StreamWriter
Handler = Callable[[bytes, Writer], Awaitable[None]]


@contextmanager
def small_server(handle: Handler) -> Iterator[Address]:
    """Run a server that reads requests with a length, and passes each body to `handle`."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await handle(await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def echo(body: bytes, writer: Writer) -> None:
    writer.write(response(body))


def requests(address: Address, *bodies: bytes) -> list[bytes]:
    return [post(address, "/", body, "image/png") for body in bodies]


def test_every_response_has_the_index_of_its_request() -> None:
    bodies = (b"one", b"two", b"three")
    with small_server(echo) as address:
        load = closed_loop(address, requests(address, *bodies), 4, seconds=0.2, warmup=0.05)
    assert len(load.responses) > len(bodies)
    assert all(one.body == bodies[one.request_index] for one in load.responses)
    assert load.rate == len(load.responses) / 0.2


def test_a_response_in_pieces_is_read_whole() -> None:
    async def in_pieces(body: bytes, writer: Writer) -> None:
        for byte in response(body):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    with small_server(in_pieces) as address:
        load = closed_loop(address, requests(address, b"whole"), 1, seconds=0.2, warmup=0)
    assert {one.body for one in load.responses} == {b"whole"}


def test_a_refusal_is_recorded_but_does_not_count_as_throughput() -> None:
    async def refuse(_: bytes, writer: Writer) -> None:
        writer.write(response(b"later", "429 Too Many Requests"))

    with small_server(refuse) as address:
        load = closed_loop(address, requests(address, b""), 2, seconds=0.1, warmup=0)
    assert {one.status for one in load.responses} == {429}
    assert load.rate == 0


def test_a_lost_connection_is_a_missing_response_and_is_reopened() -> None:
    received = 0

    async def close_once(body: bytes, writer: Writer) -> None:
        nonlocal received
        received += 1
        if received == 1:
            writer.close()
        else:
            await echo(body, writer)

    with small_server(close_once) as address:
        load = open_loop(address, requests(address, b"again"), 1, rate=100, seconds=0.1)
    assert sorted(one.status for one in load.responses) == [NO_RESPONSE] + [200] * 9


def test_an_open_loop_counts_all_due_requests_even_without_responses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ignore(_: bytes, __: Writer) -> None:
        pass

    monkeypatch.setattr(load_generator, "RESPONSE_TIMEOUT", 0.05)
    with small_server(ignore) as address:
        load = open_loop(address, requests(address, b""), 2, rate=200, seconds=0.1)
    assert [one.status for one in load.responses] == [NO_RESPONSE] * 20


def test_latency_includes_the_wait_for_a_connection() -> None:
    delay = 0.02

    async def slowly(body: bytes, writer: Writer) -> None:
        await asyncio.sleep(delay)
        await echo(body, writer)

    with small_server(slowly) as address:
        load = open_loop(address, requests(address, b""), 1, rate=1000, seconds=0.01)
    (slowest,) = load.latencies_ms(100)
    assert len(load.responses) == 10
    assert slowest > 8 * delay * 1000


@given(st.floats(0.1, 500), st.floats(0.1, 5), st.integers(0, 2**32))
def test_arrivals_have_the_given_rate_are_ordered_and_in_time(
    rate: float, seconds: float, seed: int
) -> None:
    arrivals = poisson(rate, seconds, seed)
    assert len(arrivals) == max(1, round(rate * seconds))
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] <= arrivals[-1] <= seconds


def test_a_missing_server_is_an_error() -> None:
    with small_server(echo) as address:
        pass
    with pytest.raises(OSError, match="refused"):
        closed_loop(address, requests(address, b""), 1, seconds=0.1, warmup=0)

"""The load generator, on a small server that answers as each test needs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness import load_generator
from benchmarks.harness.load_generator import (
    NO_ANSWER,
    Address,
    closed_loop,
    open_loop,
    poisson,
    post,
)

Writer = asyncio.StreamWriter
Answering = Callable[[bytes, Writer], Awaitable[None]]


@contextmanager
def listening(answer: Answering) -> Iterator[Address]:
    """A server that reads requests with a length, and hands each body to `answer`."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await answer(await reader.readexactly(length), writer)
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


def test_every_answer_is_told_with_the_request_that_it_answers() -> None:
    bodies = (b"one", b"two", b"three")
    with listening(echo) as address:
        found = closed_loop(address, requests(address, *bodies), 4, seconds=0.2, warmup=0.05)
    assert len(found.answers) > len(bodies)
    assert all(answer.body == bodies[answer.asked] for answer in found.answers)
    assert found.rate == len(found.answers) / 0.2


def test_an_answer_in_pieces_is_read_whole() -> None:
    async def in_pieces(body: bytes, writer: Writer) -> None:
        for byte in response(body):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    with listening(in_pieces) as address:
        found = closed_loop(address, requests(address, b"whole"), 1, seconds=0.2, warmup=0)
    assert {answer.body for answer in found.answers} == {b"whole"}


def test_a_refusal_is_kept_and_not_counted_as_an_answer() -> None:
    async def refuse(_: bytes, writer: Writer) -> None:
        writer.write(response(b"later", "429 Too Many Requests"))

    with listening(refuse) as address:
        found = closed_loop(address, requests(address, b""), 2, seconds=0.1, warmup=0)
    assert {answer.status for answer in found.answers} == {429}
    assert found.rate == 0


def test_a_lost_connection_is_an_answer_that_never_came_and_is_opened_again() -> None:
    asked = 0

    async def hang_up_once(body: bytes, writer: Writer) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            writer.close()
        else:
            await echo(body, writer)

    with listening(hang_up_once) as address:
        found = open_loop(address, requests(address, b"again"), 1, rate=100, seconds=0.1)
    assert sorted(answer.status for answer in found.answers) == [NO_ANSWER] + [200] * 9


def test_an_open_load_counts_all_that_fell_due_though_none_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def say_nothing(_: bytes, __: Writer) -> None:
        pass

    monkeypatch.setattr(load_generator, "PATIENCE", 0.05)
    with listening(say_nothing) as address:
        found = open_loop(address, requests(address, b""), 2, rate=200, seconds=0.1)
    assert [answer.status for answer in found.answers] == [NO_ANSWER] * 20


def test_what_waits_for_a_connection_has_its_clock_running() -> None:
    pause = 0.02

    async def slowly(body: bytes, writer: Writer) -> None:
        await asyncio.sleep(pause)
        await echo(body, writer)

    with listening(slowly) as address:
        found = open_loop(address, requests(address, b""), 1, rate=1000, seconds=0.01)
    (slowest,) = found.milliseconds(100)
    assert len(found.answers) == 10
    assert slowest > 8 * pause * 1000


@given(st.floats(0.1, 500), st.floats(0.1, 5), st.integers(0, 2**32))
def test_arrivals_are_as_many_as_asked_for_in_order_and_in_time(
    rate: float, seconds: float, seed: int
) -> None:
    arrivals = poisson(rate, seconds, seed)
    assert len(arrivals) == max(1, round(rate * seconds))
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] <= arrivals[-1] <= seconds


def test_nothing_listening_is_an_error_and_no_result() -> None:
    with listening(echo) as address:
        pass
    with pytest.raises(OSError, match="refused"):
        closed_loop(address, requests(address, b""), 1, seconds=0.1, warmup=0)

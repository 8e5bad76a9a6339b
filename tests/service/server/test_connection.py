"""What a connection may ask of the server before, between and after its requests."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from select import select

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.server.connection import MAX_HEAD_BYTES, connections
from tests.support.fakes import BATCH_TIMEOUT
from tests.support.processes import running_app

ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
BRIEF = 0.5
"""Seconds that these connections wait for a client."""
LARGE = 32 * 2**20


def small_app() -> FastAPI:
    """Answers with how much it was sent, or with much: connections know no more of an app."""
    app = FastAPI()

    @app.get("/livez")
    def livez() -> Response:
        return Response("alive")

    @app.post("/length")
    async def length(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.post("/unread")
    def unread() -> Response:
        return Response("refused", status_code=413)

    @app.get("/large")
    def large() -> Response:
        return Response(b"x" * LARGE)

    return app


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with running_app(small_app(), connections(BRIEF)) as client:
        yield client


def connected(http: httpx.Client) -> "closing[socket.socket]":
    address = (http.base_url.host, http.base_url.port or 80)
    return closing(socket.create_connection(address, timeout=BATCH_TIMEOUT))


def received(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    found = b""
    with suppress(ConnectionResetError):
        while some := connection.recv(1 << 20):
            found += some
    return found


def test_who_never_ends_a_request_is_cut_off(http: httpx.Client) -> None:
    for begun in (b"", b"GET /livez HT", ASK, b"\r\n"):
        with connected(http) as connection:
            connection.sendall(begun)
            assert received(connection) == b""


def test_who_sends_a_little_again_and_again_is_cut_off_too(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(ASK)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + BATCH_TIMEOUT:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(BRIEF / 10)


def test_who_does_not_send_the_rest_of_what_was_refused_is_cut_off(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        connection.sendall(b"some")
        assert received(connection).startswith(b"HTTP/1.1 413")


def test_who_asks_in_time_is_answered_on_the_same_connection(http: httpx.Client) -> None:
    with connected(http) as connection:
        for _ in range(4):
            connection.sendall(ASK[:9])
            time.sleep(BRIEF / 2)
            connection.sendall(ASK[9:] + b"\r\n")
            assert connection.recv(1000).endswith(b"alive")


def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not(http: httpx.Client) -> None:
    ask = ASK.replace(b"/livez", b"/large") + b"\r\n"
    with connected(http) as idle, connected(http) as slow:
        idle.sendall(ask)
        slow.sendall(ask)
        read = 0
        while read < LARGE:
            some = slow.recv(2**20)
            assert some
            read += len(some)
            time.sleep(BRIEF / 10)
        assert len(received(idle)) < LARGE


@pytest.mark.parametrize(
    "head",
    [b"X-A: b\r\n" * (MAX_HEAD_BYTES // 4), b"X-A: " + b"b" * 20 * MAX_HEAD_BYTES],
    ids=["many headers", "a long one"],
)
def test_a_head_that_is_too_long_is_431(http: httpx.Client, head: bytes) -> None:
    with connected(http) as connection:
        with suppress(ConnectionError):  # it does not wait for the end
            connection.sendall(ASK + head)
        assert received(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET http://localhost HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_refused_as_everything_is_here(
    http: httpx.Client, sent: bytes
) -> None:
    with connected(http) as connection:
        connection.sendall(sent)
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == 400
    assert problem["error"] == problem["detail"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.3"])
def test_who_would_rather_speak_another_protocol_is_answered_in_this_one(
    http: httpx.Client, protocol: str
) -> None:
    """As Java's own client does with every first request."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2-Settings": ""}
    assert http.post("/length", content=b"12345", headers=upgrade).text == "5"
    assert http.post("/length", content=b"123456").text == "6"


def test_what_is_asked_ahead_is_answered_in_its_order(http: httpx.Client) -> None:
    with connected(http) as connection:
        post = b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        ahead = b"".join(post % length + b"x" * length for length in range(1, 10))
        connection.sendall(ahead + ASK + b"Connection: close\r\n\r\n")
        answers = received(connection).split(b"HTTP/1.1 200 OK")[1:]
    assert [one.rpartition(b"\r\n\r\n")[2] for one in answers] == [
        *(str(length).encode() for length in range(1, 10)),
        b"alive",
    ]


@contextmanager
def counting_what_waits() -> Iterator[tuple[httpx.Client, list[int]]]:
    """A server, and how many requests waited at its connections whenever one was read."""
    waiting: list[int] = []

    class Counted(connections(BATCH_TIMEOUT)):  # type: ignore[misc]  # a class that a function makes
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            waiting.append(len(self.pipeline))

    with running_app(small_app(), Counted) as client:
        yield client, waiting


def test_what_is_asked_ahead_is_not_read_before_its_turn() -> None:
    """Else a single connection could fill the memory: requests are read faster than answered."""
    count, padding = 1500, b"X-A: " + b"b" * 8000 + b"\r\n"
    with counting_what_waits() as (client, waiting), connected(client) as connection:
        left = (ASK + padding + b"\r\n") * (count - 1) + ASK + b"Connection: close\r\n\r\n"
        connection.setblocking(False)
        answers = b""
        while answers.count(b"alive") < count:
            # never spins: the server shares this process, and would get no turn
            readable, writable, _ = select(
                [connection], [connection] if left else [], [], BATCH_TIMEOUT
            )
            assert readable or writable
            if writable:
                left = left[connection.send(left) :]
            if readable:
                some = connection.recv(1 << 20)
                assert some
                answers += some
    assert len(waiting) - 1 == count  # and the one by which the server was found
    assert max(waiting) < 100

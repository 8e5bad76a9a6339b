"""The limits of a connection before, between and after its requests."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from select import select

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.server.connection import (
    MAX_HEADERS,
    MAX_OVERHEAD_BYTES,
    MAX_PIPELINED,
    connections,
)
from tests.support.fakes import BATCH_TIMEOUT
from tests.support.processes import running_app

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
BRIEF = 0.5
"""Seconds that these connections wait for a client."""
LARGE = 32 * 2**20
CHUNKED = b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
UNREAD = CHUNKED.replace(b"/length", b"/unread")
READ = 2**18
"""Bytes that the server reads at once at most."""
BUFFERED = 16 * 2**20
"""Bytes at most that the sockets of both sides hold."""


def small_app() -> FastAPI:
    """Make an app that answers with the length of a body, or with a large body."""
    app = FastAPI()

    @app.get("/livez")
    def livez() -> Response:
        return Response("alive")

    @app.post("/length")
    async def length(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.post("/headers")
    async def headers(request: Request) -> Response:
        await request.body()
        return Response(" ".join(request.headers))

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
    """Read everything until the server closes the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while some := connection.recv(1 << 20):
            found += some
    return found


def test_a_client_that_never_ends_a_request_is_disconnected(http: httpx.Client) -> None:
    for begun, status in {b"": b"", b"GET /livez HT": b"408", REQUEST: b"408"}.items():
        with connected(http) as connection:
            connection.sendall(begun)
            assert received(connection)[9:12] == status


def test_a_client_that_sends_a_few_bytes_at_a_time_is_disconnected(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(REQUEST)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + BATCH_TIMEOUT:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(BRIEF / 10)


def test_a_client_that_does_not_send_the_rest_of_a_refused_body_is_disconnected(
    http: httpx.Client,
) -> None:
    with connected(http) as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        connection.sendall(b"some")
        assert received(connection).startswith(b"HTTP/1.1 413")


def test_requests_in_time_are_answered_on_one_connection(http: httpx.Client) -> None:
    with connected(http) as connection:
        for _ in range(4):
            connection.sendall(REQUEST[:9])
            time.sleep(BRIEF / 2)
            connection.sendall(REQUEST[9:] + b"\r\n")
            assert connection.recv(1000).endswith(b"alive")


def test_a_client_that_does_not_read_is_disconnected_and_a_slow_one_is_not(
    http: httpx.Client,
) -> None:
    ask = REQUEST.replace(b"/livez", b"/large") + b"\r\n"
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
    [b"X-A: b\r\n" * (MAX_OVERHEAD_BYTES // 4), b"X-A: " + b"b" * 20 * MAX_OVERHEAD_BYTES],
    ids=["many headers", "a long one"],
)
def test_a_head_above_the_limit_is_431(http: httpx.Client, head: bytes) -> None:
    with connected(http) as connection:
        with suppress(ConnectionError):  # the server does not wait for the end
            connection.sendall(REQUEST + head)
        assert received(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    ("begun", "repeated", "status"),
    [
        (b"", b"\r\n", 431),
        (b"GET /", b"a", 431),
        (CHUNKED + b"0\r\n", b"a:b\r\n", 400),
        (CHUNKED + b"0\r\na:", b"b", 400),
        (CHUNKED + b"1;", b"x", 400),
        (CHUNKED + b"1\r\nx\r\n0;", b"x", 400),
        (CHUNKED, b"1\r\nx\r\n", 400),
        (CHUNKED, b"1;" + b"x" * 100 + b"\r\nx\r\n", 400),
        (UNREAD, b"28\r\n" + b"x" * 40 + b"\r\n", 413),
        (UNREAD + b"0\r\n", b"a:b\r\n", 413),
    ],
    ids=[
        "blank lines", "a long path", "short trailers", "a long trailer", "a chunk extension",
        "an extension of the last chunk", "short chunks", "extended chunks", "unread chunks",
        "trailers of an unread body",
    ],
)  # fmt: skip
def test_a_request_that_never_ends_is_refused_after_a_few_bytes(
    begun: bytes, repeated: bytes, status: int
) -> None:
    """The timeout is that of the test, so bytes alone can end the request."""
    piece = repeated * (READ // len(repeated))
    patient = connections(BATCH_TIMEOUT)
    with running_app(small_app(), patient) as http, connected(http) as connection:
        connection.sendall(begun)
        answer = connection.recv(1000) if begun.startswith(UNREAD) else b""
        with pytest.raises(ConnectionError):
            for _ in range(BUFFERED // len(piece) + 4):
                connection.sendall(piece)
        assert (answer + received(connection)).startswith(b"HTTP/1.1 %d" % status)


def test_a_refused_request_does_not_precede_the_response_to_an_earlier_one(
    http: httpx.Client,
) -> None:
    good = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    for bad in (b"nonsense\r\n\r\n", CHUNKED + b"nonsense\r\n", REQUEST[:-17] + b"\r\n"):
        with connected(http) as connection:
            connection.sendall(good + good + bad)
            first, second, refusal = received(connection).split(b"HTTP/1.1 ", 3)[1:]
        assert first.startswith(b"200")
        assert second.endswith(b"\r\n\r\n3")
        assert refusal.startswith(b"400")


def test_more_pipelined_requests_than_the_limit_are_429(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall((REQUEST + b"\r\n") * (MAX_PIPELINED + 10))
        answers = received(connection).split(b"HTTP/1.1 ")[1:]
    assert [one[:3] for one in answers] == [b"200"] * (MAX_PIPELINED + 1) + [b"429"]


def test_more_headers_than_the_limit_are_431(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(REQUEST + b"a:b\r\n" * MAX_HEADERS + b"\r\n")
        assert received(connection).startswith(b"HTTP/1.1 431")


def test_trailers_are_no_headers(http: httpx.Client) -> None:
    with connected(http) as connection:
        head = CHUNKED.replace(b"/length", b"/headers")
        head = head.replace(b"Host:", b"Connection: close\r\nHost:")
        connection.sendall(head + b"1\r\nx\r\n0\r\nX-API-Key: admin\r\n\r\n")
        assert received(connection).endswith(b"\r\n\r\nconnection host transfer-encoding")


@pytest.mark.parametrize("size", [40, 1000, 2**16])
def test_a_long_body_in_small_chunks_is_read(http: httpx.Client, size: int) -> None:
    whole = 2**21
    chunks = (b"x" * size for _ in range(whole // size))
    assert http.post("/length", content=chunks).text == str(whole // size * size)


@pytest.mark.parametrize("hosts", [b"", b"Host:\r\n", b"Host: a\r\nHost: a\r\n"])
def test_a_request_without_one_host_is_400(http: httpx.Client, hosts: bytes) -> None:
    with connected(http) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Host" in answer


def test_http_1_0_needs_no_host(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert received(connection).endswith(b"alive")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET http://localhost HTTP/1.1\r\n\r\n"]
)
def test_data_that_is_not_http_is_400_with_a_problem(http: httpx.Client, sent: bytes) -> None:
    with connected(http) as connection:
        connection.sendall(sent)
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == 400
    assert problem["error"] == problem["detail"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.3"])
def test_an_offered_protocol_upgrade_is_ignored(http: httpx.Client, protocol: str) -> None:
    """Java's own client offers one with every first request."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2-Settings": ""}
    assert http.post("/length", content=b"12345", headers=upgrade).text == "5"
    assert http.post("/length", content=b"123456").text == "6"


def test_pipelined_requests_are_answered_in_order(http: httpx.Client) -> None:
    with connected(http) as connection:
        post = b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        ahead = b"".join(post % length + b"x" * length for length in range(1, 10))
        connection.sendall(ahead + REQUEST + b"Connection: close\r\n\r\n")
        answers = received(connection).split(b"HTTP/1.1 200 OK")[1:]
    assert [one.rpartition(b"\r\n\r\n")[2] for one in answers] == [
        *(str(length).encode() for length in range(1, 10)),
        b"alive",
    ]


@contextmanager
def counting_pipelined() -> Iterator[tuple[httpx.Client, list[int]]]:
    """Run a server, and yield the number of pipelined requests at each head that is read."""
    waiting: list[int] = []

    class Counted(connections(BATCH_TIMEOUT)):  # type: ignore[misc]  # a class that a function makes
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            waiting.append(len(self.pipeline))

    with running_app(small_app(), Counted) as client:
        yield client, waiting


def test_pipelined_requests_are_not_read_before_their_turn() -> None:
    """Otherwise one connection could fill the memory: reading is faster than answering."""
    count, padding = 1500, b"X-A: " + b"b" * 8000 + b"\r\n"
    with counting_pipelined() as (client, waiting), connected(client) as connection:
        left = (REQUEST + padding + b"\r\n") * (count - 1) + REQUEST + b"Connection: close\r\n\r\n"
        connection.setblocking(False)
        answers = b""
        while answers.count(b"alive") < count:
            # never spins: the server runs in this process, and would get no CPU
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
    assert len(waiting) - 1 == count  # and the request of the fixture that finds the server
    assert max(waiting) < 100


@contextmanager
def with_room_for(count: int) -> Iterator[httpx.Client]:
    """Run a server with room for a number of connections beside that of the yielded client."""
    with running_app(small_app(), connections(BATCH_TIMEOUT, count + 1)) as client:
        yield client


def test_the_connection_that_has_been_idle_longest_is_closed_for_a_new_one() -> None:
    with with_room_for(2) as http, connected(http) as one, connected(http) as other:
        for connection in (other, one, http):
            answered(connection)
        with connected(http) as new:
            answered(new)
            assert received(other) == b""
            answered(one)


def answered(connection: socket.socket | httpx.Client) -> None:
    """Assert that a request on the connection is answered."""
    if isinstance(connection, httpx.Client):
        assert connection.get("/livez").text == "alive"
    else:
        connection.sendall(REQUEST + b"\r\n")
        assert connection.recv(1000).endswith(b"alive")


def test_a_new_connection_is_503_if_no_other_is_idle() -> None:
    begun = CHUNKED + b"1\r\nx\r\n"
    with with_room_for(2) as http, connected(http) as one, connected(http) as other:
        for connection in (one, other):
            connection.sendall(begun)
        answered(http)
        with connected(http) as new:  # closes the connection of `http`
            answered(new)
            new.sendall(begun)
            time.sleep(0.1)
            with connected(http) as refused:
                assert received(refused).startswith(b"HTTP/1.1 503")
            for connection in (one, other, new):
                connection.sendall(b"0\r\n\r\n")
                assert connection.recv(1000).endswith(b"\r\n\r\n1")

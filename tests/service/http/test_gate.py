"""The steps of the gate, each alone."""

import asyncio
import gzip

import pytest
from starlette.datastructures import MutableHeaders
from starlette.types import Message

from service.engine.types import Priority
from service.errors import NotAnImageError, QueueFullError, TooLargeError
from service.http.gate.admission import REPLACE_ROUTE, priority_of, upload_route
from service.http.gate.compression import accepts_gzip, compress, is_compressible
from service.http.gate.exchange import BodyLimits, Exchange, cancelled_if_gone, request_id
from service.http.gate.headers import HeaderMap

Header = tuple[bytes, bytes]

VERSION_ROUTE = "/v2/models/kindred/versions/{version}/infer"


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP, br", True),
        ("br;q=1, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("x-gzip", True),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("gzip, identity;q=0", True),
        ("gzip;q=2", False),
        ("gzip;level=9;q=0.1", True),
        ("gzip;q=none", False),
    ],
)
def test_gzip_is_accepted_as_the_header_says(header: str, *, accepted: bool) -> None:
    assert accepts_gzip(header) == accepted


@pytest.mark.parametrize("size", [10, 2000, 200_000])
@pytest.mark.parametrize("accepted", [True, False])
def test_long_bodies_are_compressed_if_accepted(size: int, *, accepted: bool) -> None:
    headers = MutableHeaders({"Content-Type": "application/json", "Content-Length": str(size)})
    body = bytes(size)
    packed = asyncio.run(compress(headers, body, accepted=accepted))
    assert int(headers["Content-Length"]) == len(packed)
    assert ("Vary" in headers) == (size >= 1024)
    if accepted and size >= 1024:
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed) == body
    else:
        assert packed == body
        assert "Content-Encoding" not in headers


@pytest.mark.parametrize(
    ("headers", "compressible"),
    [
        ({"Content-Type": "application/json"}, True),
        ({"Content-Type": "text/html; charset=utf-8"}, True),
        ({"Content-Type": "application/openmetrics-text; version=1.0.0"}, True),
        ({"Content-Type": "image/png"}, False),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, False),
        ({}, False),
    ],
)
def test_text_is_compressible_and_images_are_not(
    headers: dict[str, str], *, compressible: bool
) -> None:
    assert is_compressible(MutableHeaders(headers).raw) == compressible


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/classify", "/classify"),
        ("GET", "/classify", None),
        (
            "POST",
            "/v2/models/kindred/versions/3/infer",
            "/v2/models/kindred/versions/{version}/infer",
        ),
        ("PUT", "/gallery/mine", REPLACE_ROUTE),
        ("PUT", "/gallery/mine/image", None),
        ("POST", "/nowhere", None),
    ],
)
def test_uploads_are_known_by_method_and_path(method: str, path: str, route: str | None) -> None:
    assert upload_route(method, path) == route


def test_additions_have_the_priority_of_the_background() -> None:
    assert priority_of(REPLACE_ROUTE) is Priority.BACKGROUND
    assert priority_of("/gallery") is Priority.BACKGROUND
    assert priority_of("/predict") is Priority.INTERACTIVE


def test_the_first_of_a_repeated_header_counts_in_any_case() -> None:
    headers = HeaderMap([(b"x-api-key", b"one"), (b"x-api-key", b"two"), (b"host", b"a")])
    assert headers.get("X-API-Key") == "one"
    assert headers.text("Origin") == ""
    assert "HOST" in headers


@pytest.mark.parametrize("given", ["a b", "x" * 65, "<script>", ""])
def test_a_request_id_of_other_characters_is_replaced(given: str) -> None:
    assert request_id(HeaderMap([(b"x-request-id", given.encode())])) != given


class Server:
    """The server's side of one request: gives the parts of a body, keeps the response."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        body = self.parts.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self.parts)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def exchange(self, *headers: Header, limits: BodyLimits | None = None) -> Exchange:
        scope = {"type": "http", "headers": list(headers)}
        limits = limits or BodyLimits(10, 100)
        headers_of = HeaderMap(headers)
        return Exchange(scope, headers_of, self.receive, self.send, limits=limits, traced=False)


def test_a_body_is_refused_by_its_announced_length_before_it_is_read() -> None:
    server = Server(b"never read")
    exchange = server.exchange((b"content-length", b"11"))
    with pytest.raises(TooLargeError):
        asyncio.run(exchange.receive())
    assert server.parts


def test_a_body_is_refused_when_it_becomes_too_long() -> None:
    exchange = Server(b"123456", b"123456").exchange()
    asyncio.run(exchange.receive())
    with pytest.raises(TooLargeError):
        asyncio.run(exchange.receive())


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(NotAnImageError, match="gzip"):
        asyncio.run(Server(b"1").exchange((b"content-encoding", b"gzip")).receive())


def test_bodies_in_flight_share_a_limit_until_their_exchange_ends() -> None:
    limits = BodyLimits(10, 12)
    first = Server(b"12345678").exchange(limits=limits)
    second = Server(b"12345678").exchange(limits=limits)
    third = Server(b"12345678").exchange(limits=limits)
    asyncio.run(first.receive())
    with pytest.raises(QueueFullError):
        asyncio.run(second.receive())
    second.end()
    first.end()
    asyncio.run(third.receive())
    assert limits.in_flight == 8


def test_a_response_that_comes_in_parts_is_sent_as_it_is() -> None:
    server = Server()
    exchange = server.exchange((b"accept-encoding", b"gzip"))
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain")],
    }

    async def respond() -> None:
        await exchange.send(start)
        await exchange.send({"type": "http.response.body", "body": bytes(5000), "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b""})

    asyncio.run(respond())
    assert [len(message.get("body", b"")) for message in server.sent] == [0, 5000, 0]
    assert exchange.status == 200


async def _wait_in(exchange: Exchange, seconds: float) -> str:
    exchange.expire_in(seconds)
    try:
        with cancelled_if_gone(exchange.scope):
            await asyncio.sleep(10)
    except asyncio.CancelledError:
        if not exchange.uncancel():
            raise
        return "expired" if exchange.expired else "gone"
    return "over"


def test_an_exchange_is_cancelled_at_its_deadline() -> None:
    assert asyncio.run(_wait_in(Server().exchange(), 0.01)) == "expired"


def test_an_exchange_is_cancelled_when_its_client_is_gone() -> None:
    async def run() -> str:
        exchange = Server().exchange()
        asyncio.get_running_loop().call_later(0.01, exchange.disconnect)
        return await _wait_in(exchange, 10)

    assert asyncio.run(run()) == "gone"


def test_a_client_that_is_gone_before_cancels_as_soon_as_it_may() -> None:
    exchange = Server().exchange()
    exchange.disconnect()
    assert asyncio.run(_wait_in(exchange, 10)) == "gone"


def test_a_cancellation_from_outside_is_not_taken_for_a_deadline() -> None:
    async def run() -> None:
        task = asyncio.create_task(_wait_in(Server().exchange(), 10))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())

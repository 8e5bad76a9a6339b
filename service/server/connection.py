"""Limits of a connection that uvicorn leaves to a reverse proxy.

Everything of a request that is not its body has a maximum size, and so has the number of pipelined
requests. A client that sends or reads too slowly is disconnected. While a pipelined request waits,
no more data is read. Of too many connections, idle ones are closed. Knows sockets and heads of
requests, but nothing of the app.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.schemas.errors import Problem
from service.telemetry import logs

MAX_OVERHEAD_BYTES: Final = 64 * 1024
"""Bytes of a request that are not its body at most, rounded up to one read.

They are the request line and headers, then trailers and what frames the chunks of the body. Until
the response is complete, a chunk makes up for a quarter of its bytes.
"""
MAX_HEADERS: Final = 256
MAX_PIPELINED: Final = 128
"""Requests that wait on one connection at most."""
CONNECTION: Final = "kindred.connection"
"""The ASGI extension that gives a request its connection, whose `on_lost` it may set."""
MIN_READ_RATE: Final = 128 * 1024
"""Bytes of a response that a client must read within each client timeout."""
_UPGRADE: Final = re.compile(rb"(?<=\r\n)upgrade:[^\r\n]*\r\n", re.IGNORECASE)


def connections(client_timeout: float, limit: int = 2048) -> type[HttpToolsProtocol]:
    """Return a connection class that waits `client_timeout` seconds for a client at most.

    If there are more than `limit` connections, it closes idle ones.
    """

    class LimitedConnection(Connection):
        pass

    LimitedConnection.client_timeout = client_timeout
    LimitedConnection.limit = limit
    LimitedConnection.idle = {}
    return LimitedConnection


class _RefusedError(Exception):
    """A request is refused by its head, or by bytes that are not HTTP."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        problem = Problem.of(status, status.phrase, detail, path="")
        body = problem.model_dump_json(exclude_none=True).encode()
        head = (
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.response = STATUS_LINE[status] + head.encode() + body


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection with limits, and without protocol upgrades."""

    client_timeout: ClassVar[float]
    limit: ClassVar[int]
    idle: ClassVar[dict["Connection", None]]
    """Connections without a request in flight; the one that has been idle longest is the first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: the arguments of uvicorn
        super().__init__(*args, **kwargs)
        self.logger = logging.getLogger(logs.REFUSED_REQUESTS)
        self.refusal: _RefusedError | None = None
        """Set once a request is refused. Nothing more is read then."""
        self._in_head = True
        self._overhead = 0
        self._request_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], None] | None = None
        """Called when the client disconnects, if a request has set it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request, if there is room for one more connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        if len(self.connections) > self.limit:
            self._make_room()
        self.idle[self] = None
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers, and tell the request that runs."""
        _cancel(self._request_timer)
        _cancel(self._read_timer)
        self.idle.pop(self, None)
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request or several requests, unless too much of it is not its body."""
        if self._in_head:
            data = _without_upgrade(data)
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_OVERHEAD_BYTES and self.refusal is None:
            self._refuse(_too_long(self._in_head))

    def on_headers_complete(self) -> None:
        """Stop the timer: from here on the request timeout of the app applies.

        Trailers are dropped: the app would take them for headers.
        """
        self._check_head()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]  # our own
        super().on_headers_complete()
        self.headers = _DROPPED
        self._in_head = False
        _cancel(self._request_timer)
        self.idle.pop(self, None)

    def on_body(self, body: bytes) -> None:
        """Give a part of the body to the app, and subtract it from the bytes received."""
        size = len(body)
        if not self.cycle.response_complete:
            size += size // 4
        self._overhead = max(0, self._overhead - size)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Prepare for the head of the next request."""
        self._in_head = True
        self._overhead = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, or for the rest of one that was answered early."""
        all_answered = not self.pipeline
        super().on_response_complete()
        if all_answered and not self.transport.is_closing():
            if self.refusal is not None:
                self._close_with(self.refusal)
            else:
                self.idle[self] = None
                self._wait_for_request()

    def pause_writing(self) -> None:
        """Start to wait for the client to read the response."""
        super().pause_writing()
        self._wait_for_read()

    def resume_writing(self) -> None:
        """Stop the timer: the client has read the response."""
        _cancel(self._read_timer)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP, or a request whose head was refused."""
        self._refuse(self.refusal or _not_http())

    def _check_head(self) -> None:
        """Check in a head what the parser does not.

        Raises:
            _RefusedError: the request is refused. The parser stops.

        """
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(self.headers) > MAX_HEADERS:
            self.refusal = _too_long(in_head=True)
        elif len(self.pipeline) >= MAX_PIPELINED:
            self.refusal = _RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"More than {MAX_PIPELINED} requests wait on this connection: read the responses.",
            )
        elif len(hosts) != 1 or not hosts[0]:
            if not hosts and self.parser.get_http_version() == "1.0":
                return
            self.refusal = _RefusedError(
                HTTPStatus.BAD_REQUEST, "A request must have one Host header, and not an empty one."
            )
        if self.refusal is not None:
            raise self.refusal

    def _refuse(self, refusal: _RefusedError) -> None:
        """Stop to read. Send the refusal when the requests before the refused one are answered."""
        self.refusal = refusal
        self.flow.pause_reading()
        cycle = self.cycle
        if self._in_head:
            if cycle is None or cycle.response_complete:
                self._close_with(refusal)
        elif self.pipeline:
            self.pipeline.popleft()  # the refused one, which the app has not seen
        elif cycle.response_started:
            cycle.disconnected = True
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._close_with(refusal)

    def _close_with(self, refusal: _RefusedError) -> None:
        self.transport.write(refusal.response)
        self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has been idle longest. If none is idle, refuse this one."""
        oldest = next(iter(self.idle), None)
        if oldest is None:
            self._refuse(
                _RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"All {self.limit:,} connections are in use: try again later.",
                )
            )
        else:
            del self.idle[oldest]
            oldest.transport.close()

    def _wait_for_request(self) -> None:
        def check() -> None:
            if self.flow.write_paused:  # the client still reads the response
                self._wait_for_request()
            elif self._in_head and self._overhead:
                self._refuse(_too_slow(self.client_timeout))
            else:
                self.transport.abort()

        _cancel(self._request_timer)
        self._request_timer = self.loop.call_later(self.client_timeout, check)

    def _wait_for_read(self) -> None:
        left = self.transport.get_write_buffer_size()

        def check() -> None:
            if left - self.transport.get_write_buffer_size() < MIN_READ_RATE:
                self.transport.abort()
            else:
                self._wait_for_read()

        self._read_timer = self.loop.call_later(self.client_timeout, check)


class _Flow(FlowControl):
    """Resumes reading only if no pipelined request waits, which bounds the memory in use."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.pipeline and self._connection.refusal is None:
            super().resume_reading()


class _Dropped(list[tuple[bytes, bytes]]):
    """A list that stays empty."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Ignore the element."""


_DROPPED: Final = _Dropped()


def _too_long(in_head: bool) -> _RefusedError:
    if in_head:
        return _RefusedError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"There are more than {MAX_OVERHEAD_BYTES:,} bytes of headers, or more than "
            f"{MAX_HEADERS} headers: send fewer or shorter ones.",
        )
    return _RefusedError(
        HTTPStatus.BAD_REQUEST,
        f"There are more than {MAX_OVERHEAD_BYTES:,} bytes between the chunks of the body or after "
        "it: send larger chunks, without extensions or trailers.",
    )


def _too_slow(seconds: float) -> _RefusedError:
    return _RefusedError(
        HTTPStatus.REQUEST_TIMEOUT, f"The headers did not end within {seconds:g} s."
    )


def _not_http() -> _RefusedError:
    return _RefusedError(
        HTTPStatus.BAD_REQUEST, "This is not an HTTP/1.1 request. Send plain HTTP, without TLS."
    )


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _without_upgrade(data: bytes) -> bytes:
    """Remove `Upgrade` from a head. Java's client sends it to offer HTTP/2.

    A server may ignore it (RFC 9110, 7.8). The parser would treat the body as data of the other
    protocol and lose it.
    """
    end = data.find(b"\r\n\r\n") + 2
    if b"upgrade:" not in data[:end].lower():  # which is quick: nearly all heads have none
        return data
    return _UPGRADE.sub(b"", data[:end]) + data[end:]

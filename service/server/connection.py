"""Limits of one connection that uvicorn leaves to a reverse proxy.

The head of a request has a maximum size. A client that sends or reads too slowly is disconnected.
While a pipelined request waits, no more data is read. Knows sockets and heads of requests, but
nothing of the app.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.schemas.errors import Problem

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes of the request line and headers at most, rounded up to one read."""
MIN_READ_RATE: Final = 128 * 1024
"""Bytes of a response that a client must read within each client timeout."""
_UPGRADE: Final = re.compile(rb"(?<=\r\n)upgrade:[^\r\n]*\r\n", re.IGNORECASE)


def connections(client_timeout: float) -> type[HttpToolsProtocol]:
    """Return a connection class that waits `client_timeout` seconds for a client at most."""

    class LimitedConnection(Connection):
        pass

    LimitedConnection.client_timeout = client_timeout
    return LimitedConnection


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection with limits, and without protocol upgrades."""

    client_timeout: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: the arguments of uvicorn
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head = 0
        self._request_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        _cancel(self._request_timer)
        _cancel(self._read_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request or several requests, unless the head is too long."""
        if self._in_head:
            data = _without_upgrade(data)
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The headers exceed {MAX_HEAD_BYTES:,} bytes: send fewer or shorter ones.",
            )

    def on_headers_complete(self) -> None:
        """Stop the timer: from here on the request timeout of the app applies."""
        self._in_head = False
        _cancel(self._request_timer)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Prepare for the head of the next request."""
        self._in_head = True
        self._head = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, or for the rest of one that was answered early."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
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
        """Refuse data that is not HTTP with a problem."""
        self._refuse(
            HTTPStatus.BAD_REQUEST, "This is not an HTTP/1.1 request. Send plain HTTP, without TLS."
        )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Send a problem for data that never became a request, and close the connection."""
        problem = Problem.of(status, status.phrase, detail, path="")
        body = problem.model_dump_json(exclude_none=True).encode()
        head = (
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _wait_for_request(self) -> None:
        def check() -> None:
            if self.flow.write_paused:  # the client still reads the response
                self._wait_for_request()
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
        if not self._connection.pipeline:
            super().resume_reading()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _without_upgrade(data: bytes) -> bytes:
    """Remove `Upgrade` from a head. Java's client sends it to offer HTTP/2.

    A server may ignore it (RFC 9110, 7.8). The parser would treat the body as data of the other
    protocol and lose it.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head + end) + rest if end else data

"""One connection, held to limits that uvicorn leaves to whoever stands before it.

A request's head has only so many bytes. While it is the client's turn, be it to ask or to read what
was answered, it has only so many seconds: what comes later than that is cut off. What is asked
ahead is not read before its turn. Knows sockets and the heads of requests; nothing of the app.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.schemas.errors import Problem

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes of a request's first line and headers, give or take what is read at once."""
MIN_READ_RATE: Final = 128 * 1024
"""Bytes of an answer that a client must have read whenever its time is up, to be given more."""
_UPGRADE: Final = re.compile(rb"(?<=\r\n)upgrade:[^\r\n]*\r\n", re.IGNORECASE)


def connections(client_timeout: float) -> type[HttpToolsProtocol]:
    """The class of connections that wait so many seconds for a client."""

    class Patient(Connection):
        pass

    Patient.client_timeout = client_timeout
    return Patient


class Connection(HttpToolsProtocol):
    """uvicorn's own, with limits. It offers no other protocol to change to."""

    client_timeout: ClassVar[float]

    def __init__(self, *given: Any, **named: Any) -> None:  # Any: whatever uvicorn gives its own
        super().__init__(*given, **named)
        self._in_head = True
        self._head = 0
        self._asking: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        _cancel(self._reading)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, or several requests."""
        if self._in_head:
            data = _without_upgrade(data)
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The head of a request may have {MAX_HEAD_BYTES:,} bytes.",
            )

    def on_headers_complete(self) -> None:
        """Leave the rest to the app and its deadline."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Await another request on this connection."""
        self._in_head = True
        self._head = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Await the next request, or the rest of one that was answered before it had all come."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_request()

    def pause_writing(self) -> None:
        """Have the client read what it is sent."""
        super().pause_writing()
        self._await_read()

    def resume_writing(self) -> None:
        """It has read."""
        _cancel(self._reading)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as everything is refused here."""
        self._refuse(HTTPStatus.BAD_REQUEST, "This is no request in HTTP/1.1.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what never became a request, and hang up."""
        body = Problem(
            type="about:blank", title=status.phrase, status=status, detail=detail, instance="",
            error=detail,
        ).model_dump_json(exclude_none=True).encode()  # fmt: skip
        head = (
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _await_request(self) -> None:
        def look() -> None:
            if self.flow.write_paused:  # it still reads
                self._await_request()
            else:
                self.transport.abort()

        self._stop_waiting()
        self._asking = self.loop.call_later(self.client_timeout, look)

    def _stop_waiting(self) -> None:
        _cancel(self._asking)

    def _await_read(self) -> None:
        left = self.transport.get_write_buffer_size()

        def look() -> None:
            if left - self.transport.get_write_buffer_size() < MIN_READ_RATE:
                self.transport.abort()
            else:
                self._await_read()

        self._reading = self.loop.call_later(self.client_timeout, look)


class _Flow(FlowControl):
    """Reads on only when nothing is waiting that was asked ahead: nobody fills our memory so."""

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
    """A head that asks for another protocol, as Java's client does for HTTP/2, without asking.

    Whoever is not understood must be answered as if they had not asked (RFC 9110, 7.8). The parser
    would take the body for the other protocol's, and lose it.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head + end) + rest if end else data

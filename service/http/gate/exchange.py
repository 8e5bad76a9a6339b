"""One request and its response, with what the gate adds on the way in and on the way out.

Knows bytes, headers and times; nothing of routes.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from opentelemetry import trace
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.errors import NotAnImageError, QueueFullError, TooLargeError
from service.http.gate.compression import accepts_gzip, compress, is_compressible
from service.http.gate.headers import HeaderMap
from service.server.connection import CONNECTION
from service.telemetry import logs
from service.telemetry.timings import Timings

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Watched(Protocol):
    """A connection, which calls `on_lost` when the client disconnects."""

    on_lost: Callable[[], None] | None


@dataclass
class BodyLimits:
    """The limits of request bodies in bytes: of each, and of all in flight together."""

    each: int
    together: int
    in_flight: int = field(default=0, init=False)


class Exchange:
    """A request on its way in and its response on its way out. Cancels its own task.

    The task is cancelled if no response has begun at the deadline, and if the client disconnects
    while the task may be cancelled for it. `expired` and `gone` say why.
    """

    __slots__ = (
        *("cancellable", "expired", "gone", "headers", "request_id", "scope", "started", "status"),
        *("timings", "_connection", "_held", "_limits", "_received", "_receive", "_send", "_task"),
        *("_timer", "traced"),
    )

    def __init__(
        self,
        scope: Scope,
        headers: HeaderMap,
        receive: Receive,
        send: Send,
        *,
        limits: BodyLimits,
        traced: bool,
    ) -> None:
        self.scope = scope
        self.headers = headers
        self.request_id = request_id(self.headers)
        self.timings = Timings()
        self.started = time.perf_counter()
        self.status = 500
        self.cancellable = self.expired = self.gone = False
        self._receive = receive
        self._send = send
        self._limits = limits
        self._received = 0
        self.traced = traced
        self._held: Message | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._connection: Watched | None = scope.get("extensions", {}).get(CONNECTION)
        if self._connection is not None:
            self._connection.on_lost = self.disconnect
        state = scope.setdefault("state", {})
        state["exchange"] = self
        state["request_id"] = self.request_id
        state["timings"] = self.timings

    def expire_in(self, seconds: float) -> None:
        """Cancel the task if no response has begun after some seconds; note the deadline."""
        self.scope["state"]["deadline"] = time.monotonic() + seconds
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def disconnect(self) -> None:
        """Cancel the task if it is cancellable: the client is gone."""
        self.gone = True
        if self.cancellable:
            self._cancel()

    def uncancel(self) -> bool:
        """Return whether the exchange alone cancelled the task."""
        task = self._task
        return (self.expired or self.gone) and task is not None and task.uncancel() == 0

    def end(self) -> None:
        """Stop the timer, and let go of what the scope refers to."""
        self._stop_timer()
        if self._connection is not None:
            self._connection.on_lost = None
        self._limits.in_flight -= self._received
        self.scope["state"].pop("exchange", None)
        self.scope["state"].pop("serving", None)

    async def receive(self) -> Message:
        """Receive a part of the body, within the limits.

        Raises:
            TooLargeError: the body is too long, or says so in advance.
            NotAnImageError: the body is compressed.
            QueueFullError: all bodies in flight are too long together.

        """
        if not self._received:
            self._check_announced()
        message = await self._receive()
        arrived = len(message.get("body", b""))
        self._received += arrived
        self._limits.in_flight += arrived
        if self._received > self._limits.each:
            raise self._too_large()
        if self._limits.in_flight > self._limits.together:
            raise QueueFullError(
                f"All requests in flight have more than {self._limits.together:,} bytes together: "
                "try again later."
            )
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, with the headers of the gate and compressed if accepted."""
        if message["type"] == "http.response.start":
            self._stop_timer()
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._own_headers()]
            if is_compressible(message["headers"]):
                self._held = message
                return
        elif self._held is not None:
            start, self._held = self._held, None
            if not message.get("more_body", False):
                accepted = accepts_gzip(self.headers.text("accept-encoding"))
                headers = MutableHeaders(raw=start["headers"])
                body = await compress(headers, message.get("body", b""), accepted=accepted)
                message = {**message, "body": body}
            await self._send(start)
        await self._send(message)

    def _own_headers(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"x-request-id", self.request_id.encode()
        if self.timings.seconds:
            yield b"server-timing", self.timings.header().encode()
            if self.traced:
                span = trace.get_current_span()
                for stage, seconds in self.timings.seconds.items():
                    span.set_attribute(f"kindred.{stage}.seconds", seconds)

    def _check_announced(self) -> None:
        announced = self.headers.text("content-length")
        if announced.isdecimal() and int(announced) > self._limits.each:
            raise self._too_large()
        coding = self.headers.text("content-encoding") or "identity"
        if coding.lower() != "identity":
            raise NotAnImageError(
                f"The content coding {coding[:20]!r} is not supported: send the body uncompressed."
            )

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"The body has more than {self._limits.each:,} bytes: send fewer or smaller images."
        )

    def _expire(self) -> None:
        self.expired = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@contextmanager
def cancelled_if_gone(scope: Scope) -> Iterator[None]:
    """Let a request be cancelled in the `with` block if its client disconnects."""
    exchange: Exchange | None = scope["state"].get("exchange")
    if exchange is None:
        yield
        return
    exchange.cancellable = True
    if exchange.gone:
        exchange.disconnect()
    try:
        yield
    finally:
        exchange.cancellable = False


def request_id(headers: HeaderMap) -> str:
    """Return the id that a client gave its request, or a new one; put it on all its log lines."""
    given = headers.text("x-request-id")
    chosen = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    # Not reset: each request has its own context, and threads may log after its end.
    logs.request_id.set(chosen)
    return chosen

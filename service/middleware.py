"""Around every request, one duty each, as plain ASGI. Knows HTTP; nothing of images."""

import asyncio
import logging
import re
import time
import uuid
from abc import ABC, abstractmethod

from fastapi import Request
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs, problems
from service.errors import DeadlinePassedError, NotAnImageError, QueueFullError, TooLargeError
from service.metrics import Metrics
from service.timing import timings_of

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

access = logging.getLogger("service.access")


class Around(ABC):
    """The base: passes on whatever is not a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app inside."""
        if scope["type"] == "http":
            await self._around(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @abstractmethod
    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class RequestId(Around):
    """Takes a plain `X-Request-ID` from the client, else makes one; logs it and sends it back."""

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = take_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def take_request_id(scope: Scope) -> str:
    """The id of a request, the client's own where that is plain; the log names it from now on."""
    given = Headers(scope=scope).get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    # Never reset: each request has a context of its own, and some log when this has ended.
    logs.request_id.set(request_id)
    return request_id


class Watch(Around):
    """Counts, times and logs every request, however it ends.

    The stages are told as `Server-Timing`, and to the span of the request where there is one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self.metrics = metrics

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        timings = timings_of(scope)
        span = trace.get_current_span()
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if timings.seconds:
                    MutableHeaders(scope=message)["Server-Timing"] = timings.header()
                for stage, seconds in timings.seconds.items():
                    span.set_attribute(f"kindred.{stage}.seconds", seconds)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.in_flight.dec()
            # The template, never the path: ids would make a time series each.
            route = getattr(scope.get("route"), "path", "none")
            rejection = scope["state"].get("rejection", "internal") if status >= 400 else None
            self.metrics.answered(route, status, seconds, rejection)
            for stage, stage_seconds in timings.seconds.items():
                self.metrics.stages.labels(stage).observe(stage_seconds)
            log_access(scope, status, 1000 * seconds)


def log_access(scope: Scope, status: int, milliseconds: float) -> None:
    """One line for a request; with the path itself, since here it may have any number."""
    if not access.isEnabledFor(logging.INFO):
        return
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "milliseconds": round(milliseconds, 3),
    }
    access.info("%(method)s %(path)s %(status)d in %(milliseconds).1f ms", told, extra=told)


class Deadline(Around):
    """One deadline from the request's arrival to the start of its answer: then 504.

    Later rooms read `scope["state"]["deadline"]`, as `time.monotonic()` tells it.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self.seconds = seconds

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["deadline"] = time.monotonic() + self.seconds
        try:
            async with asyncio.timeout(self.seconds) as clock:

                async def stop_the_clock(message: Message) -> None:
                    clock.reschedule(None)
                    await send(message)

                await self.app(scope, receive, stop_the_clock)
        except TimeoutError:
            if not clock.expired():
                raise
            late = DeadlinePassedError(f"There was no answer within {self.seconds:g} s.")
            await problems.respond(late, Request(scope))(scope, receive, send)


class BodyLimit(Around):
    """Refuses a body that is too long: by its header before it is read, else as soon as it is.

    So too what would be too much together with the bodies of all others that are being answered,
    and a body that is compressed. FastAPI's own `max_body_size` knows neither, and answers in plain
    text, whatever the handlers say.
    """

    def __init__(self, app: ASGIApp, limit: int, together: int) -> None:
        super().__init__(app)
        self.limit = limit
        self.together = together
        self._held = 0

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        announced = headers.get("Content-Length", "")
        coding = headers.get("Content-Encoding", "identity")
        too_large = TooLargeError(f"The body has more than {self.limit:,} bytes.")
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            if announced.isdecimal() and int(announced) > self.limit:
                raise too_large
            if coding.lower() != "identity":
                raise NotAnImageError(
                    f"A body in the coding {coding[:20]!r} is not taken: send it as it is."
                )
            message = await receive()
            arrived = len(message.get("body", b""))
            received += arrived
            self._held += arrived
            if received > self.limit:
                raise too_large
            if self._held > self.together:
                raise QueueFullError(
                    f"All requests together have more than {self.together:,} bytes: try again "
                    "later."
                )
            return message

        try:
            await self.app(scope, receive_within_limit, send)
        finally:
            self._held -= received


class Head:
    """Answers HEAD as GET, wherever there is one; the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app inside; the server keeps its own scope, which still says HEAD."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)

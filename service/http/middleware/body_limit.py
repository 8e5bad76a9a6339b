"""Limits the bytes of each request body, and of all bodies in flight together."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotAnImageError, QueueFullError, TooLargeError
from service.http.middleware.base import HTTPMiddleware


class BodyLimitMiddleware(HTTPMiddleware):
    """Refuses a body that is too long: by `Content-Length` before it is read, else while reading.

    Also refuses a body that is compressed, or that makes all bodies in flight exceed their common
    limit. FastAPI's `max_body_size` covers neither, and always answers in plain text.
    """

    def __init__(self, app: ASGIApp, limit: int, max_in_flight: int) -> None:
        super().__init__(app)
        self.limit = limit
        self.max_in_flight = max_in_flight
        self._in_flight = 0

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        announced = headers.get("Content-Length", "")
        coding = headers.get("Content-Encoding", "identity")
        too_large = TooLargeError(
            f"The body has more than {self.limit:,} bytes: send fewer or smaller images."
        )
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            if announced.isdecimal() and int(announced) > self.limit:
                raise too_large
            if coding.lower() != "identity":
                raise NotAnImageError(
                    f"The content coding {coding[:20]!r} is not supported: send the body "
                    "uncompressed."
                )
            message = await receive()
            arrived = len(message.get("body", b""))
            received += arrived
            self._in_flight += arrived
            if received > self.limit:
                raise too_large
            if self._in_flight > self.max_in_flight:
                raise QueueFullError(
                    f"All requests in flight have more than {self.max_in_flight:,} bytes together: "
                    "try again later."
                )
            return message

        try:
            await self.app(scope, receive_within_limit, send)
        finally:
            self._in_flight -= received

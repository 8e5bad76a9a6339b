"""Limits the size of request bodies, each and all together."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotAnImageError, QueueFullError, TooLargeError
from service.http.middleware.base import HTTPMiddleware


class BodyLimitMiddleware(HTTPMiddleware):
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

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
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

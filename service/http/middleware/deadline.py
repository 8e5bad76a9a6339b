"""Ends a request that passes its deadline with 504."""

import asyncio
import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import DeadlinePassedError
from service.http import problems
from service.http.middleware.base import HTTPMiddleware


class DeadlineMiddleware(HTTPMiddleware):
    """Answers 504 if a response has not begun `seconds` after the request arrived.

    Puts the deadline, on the clock of `time.monotonic()`, at `scope["state"]["deadline"]`.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self.seconds = seconds

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["deadline"] = time.monotonic() + self.seconds
        try:
            async with asyncio.timeout(self.seconds) as timeout:

                async def send_and_stop(message: Message) -> None:
                    timeout.reschedule(None)
                    await send(message)

                await self.app(scope, receive, send_and_stop)
        except TimeoutError:
            if not timeout.expired():
                raise
            error = DeadlinePassedError(
                f"No response within {self.seconds:g} s: send fewer images, or try again later."
            )
            await problems.respond(error, Request(scope))(scope, receive, send)

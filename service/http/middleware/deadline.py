"""Ends a request that passes its deadline with 504."""

import asyncio
import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import DeadlinePassedError
from service.http import problems
from service.http.middleware.base import HTTPMiddleware


class DeadlineMiddleware(HTTPMiddleware):
    """One deadline from the request's arrival to the start of its answer: then 504.

    Later rooms read `scope["state"]["deadline"]`, as `time.monotonic()` tells it.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self.seconds = seconds

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
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

"""Gives every request an id, and returns it as `X-Request-ID`."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.http.middleware.base import HTTPMiddleware
from service.telemetry import logs

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIDMiddleware(HTTPMiddleware):
    """Uses the client's `X-Request-ID` if its characters are safe, else makes one; returns it."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = take_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def take_request_id(scope: Scope) -> str:
    """Return the id of a request, and put it on all log lines of its context."""
    given = Headers(scope=scope).get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    # Not reset: each request has its own context, and threads may log after its end.
    logs.request_id.set(request_id)
    return request_id

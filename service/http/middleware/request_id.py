"""Gives every request an id, and returns it in `X-Request-ID`."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.http.middleware.base import HTTPMiddleware
from service.telemetry import logs

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIDMiddleware(HTTPMiddleware):
    """Takes a plain `X-Request-ID` from the client, else makes one; logs it and sends it back."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
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

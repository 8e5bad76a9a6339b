"""Rejects requests without a valid API key before their bodies are read."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import KindredError
from service.http import problems
from service.http.auth import Keys, is_public
from service.http.middleware.base import HTTPMiddleware


class APIKeyMiddleware(HTTPMiddleware):
    """Authenticates every request to a path that is not public, before its body is read.

    Public paths hold no secret, so their `Host` header is not checked either.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        super().__init__(app)
        self.keys = keys

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_public(scope["path"]):
            try:
                scope.setdefault("state", {})["role"] = self.keys.authenticate(scope)
            except KindredError as error:
                await problems.respond(error, Request(scope))(scope, receive, send)
                return
        await self.app(scope, receive, send)

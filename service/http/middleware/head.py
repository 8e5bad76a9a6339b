"""Answers HEAD requests."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadMiddleware:
    """Handles HEAD as GET; the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner app with a copy of the scope; the server's own scope still says HEAD."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)

"""Assigns to each request the state that is current when it arrives."""

from starlette.types import Receive, Scope, Send

from service.http.middleware.base import HTTPMiddleware
from service.state import State


class StateMiddleware(HTTPMiddleware):
    """Binds a request to the current state until it ends, even if a reload replaces the state.

    A FastAPI dependency with `yield` would do the same at many times the cost.
    """

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: State = scope["app"].state.kindred
        scope.setdefault("state", {})["serving"] = state
        with state.requests.acquire():
            await self.app(scope, receive, send)

"""Who may come in with pictures: nobody, while no more images may wait.

Knows paths and the engine's queue; nothing of pictures.
"""

import re

from fastapi import Request
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.errors import KindredError
from service.middleware import Around
from service.state import State

TAKES_PICTURES = frozenset(
    {
        "/predict",
        "/classify",
        "/similar",
        "/embed",
        "/gallery",
        "/v2/models/kindred/infer",
        "/v2/models/kindred/versions/{version}/infer",
    }
)
_VERSION = re.compile(r"(?<=/versions/)[^/]+(?=/)")


class Admission(Around):
    """Refuses, before it is routed, read and decoded, what would be refused after all that.

    In an overload most answers are refusals, and what they cost is taken from the others.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._doors: dict[str, BaseRoute] = {}

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        template = _VERSION.sub("{version}", scope["path"])
        if scope["method"] == "POST" and template in TAKES_PICTURES:
            serving: State = scope["app"].state.kindred
            try:
                serving.check_room()
            except KindredError as error:
                scope["route"] = self._door(scope, template)  # for whoever counts by route
                await problems.respond(error, Request(scope))(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _door(self, scope: Scope, template: str) -> BaseRoute:
        if not self._doors:
            routes = iter_route_contexts(scope["app"].routes)
            self._doors = {
                one.path: one.original_route for one in routes if one.path in TAKES_PICTURES
            }
        return self._doors[template]

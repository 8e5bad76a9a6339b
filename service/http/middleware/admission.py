"""Who may come in with pictures: nobody, while no more images may wait.

Knows paths and the engine's queue; nothing of pictures.
"""

import re
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import KindredError
from service.http import problems
from service.http.auth import Keys
from service.http.middleware.access_log import log_access
from service.http.middleware.base import Around
from service.http.middleware.request_id import take_request_id
from service.state import State
from service.telemetry.metrics import Metrics

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
"""What is posted to with pictures."""
REPLACES = "/gallery/{image_id}"
"""What a picture is put to."""
_VERSION = re.compile(r"(?<=/versions/)[^/]+(?=/)")
_ONE_IMAGE = re.compile(r"/gallery/[^/]+")


class Admission(Around):
    """Refuses, before anything else is done for it, what would be refused after all that.

    In an overload most answers are refusals, and what they cost is taken from the others: so it
    stands before all other rooms, and does for a refusal what they do for an answer. Two are
    left to them: whoever may not ask is told that alone, and a page of another site could not
    read what is said here.
    """

    def __init__(self, app: ASGIApp, keys: Keys, metrics: Metrics) -> None:
        super().__init__(app)
        self.keys = keys
        self.metrics = metrics

    async def _around(self, scope: Scope, receive: Receive, send: Send) -> None:
        template = _taking_pictures(scope["method"], scope["path"])
        if template and not _from_a_page(scope):
            serving: State = scope["app"].state.kindred
            try:
                serving.check_room()
            except KindredError as error:
                if self._may_ask(scope):
                    await self._refuse(scope, send, template, error)
                    return
        await self.app(scope, receive, send)

    def _may_ask(self, scope: Scope) -> bool:
        try:
            self.keys.admit(scope)
        except KindredError:
            return False
        return True

    async def _refuse(self, scope: Scope, send: Send, template: str, error: KindredError) -> None:
        started = time.perf_counter()
        headers, body = problems.written(error, scope["path"])
        headers.append((b"x-request-id", take_request_id(scope).encode()))
        try:
            await send({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            seconds = time.perf_counter() - started
            self.metrics.answered(template, error.status, seconds, error.name)
            log_access(scope, error.status, 1000 * seconds)


def _taking_pictures(method: str, path: str) -> str | None:
    """The route that is asked for, if it takes pictures."""
    if method == "PUT":
        return REPLACES if _ONE_IMAGE.fullmatch(path) else None
    template = _VERSION.sub("{version}", path)
    return template if method == "POST" and template in TAKES_PICTURES else None


def _from_a_page(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])

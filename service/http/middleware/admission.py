"""Who may come in with pictures: nobody, while no more images may wait.

Knows paths and the engine's queue; nothing of pictures.
"""

import re
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from service.engine.types import Priority
from service.errors import KindredError
from service.http import problems
from service.http.auth import Keys
from service.http.middleware.access_log import log_access
from service.http.middleware.base import HTTPMiddleware
from service.http.middleware.request_id import take_request_id
from service.state import State
from service.telemetry.metrics import Metrics

UPLOAD_ROUTES = frozenset(
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


class AdmissionMiddleware(HTTPMiddleware):
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

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        template = _upload_route(scope["method"], scope["path"])
        if template and not _is_browser_request(scope):
            state: State = scope["app"].state.kindred
            try:
                state.admission.check(Priority.INTERACTIVE)
            except KindredError as error:
                if self._is_authorized(scope):
                    await self._refuse(scope, send, template, error)
                    return
        await self.app(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        try:
            self.keys.authenticate(scope)
        except KindredError:
            return False
        return True

    async def _refuse(self, scope: Scope, send: Send, template: str, error: KindredError) -> None:
        started = time.perf_counter()
        headers, body = problems.encode_problem(error, scope["path"])
        headers.append((b"x-request-id", take_request_id(scope).encode()))
        try:
            await send({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            seconds = time.perf_counter() - started
            self.metrics.record_request(template, error.status, seconds, error.name)
            log_access(scope, error.status, 1000 * seconds)


def _upload_route(method: str, path: str) -> str | None:
    """The route that is asked for, if it takes pictures."""
    if method == "PUT":
        return REPLACES if _ONE_IMAGE.fullmatch(path) else None
    template = _VERSION.sub("{version}", path)
    return template if method == "POST" and template in UPLOAD_ROUTES else None


def _is_browser_request(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])

"""Refuses uploads early while no more images are admitted.

Knows paths and admission; nothing of images.
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

UPLOAD_ROUTES = {
    "/predict": Priority.INTERACTIVE,
    "/classify": Priority.INTERACTIVE,
    "/similar": Priority.INTERACTIVE,
    "/embed": Priority.INTERACTIVE,
    "/gallery": Priority.BACKGROUND,
    "/v2/models/kindred/infer": Priority.INTERACTIVE,
    "/v2/models/kindred/versions/{version}/infer": Priority.INTERACTIVE,
}
"""Routes of POST requests with images, and the priority that admits them."""
REPLACE_ROUTE = "/gallery/{image_id}"
"""The route of PUT requests with images, which the priority of additions admits."""
_VERSION = re.compile(r"(?<=/versions/)[^/]+(?=/)")
_ONE_IMAGE = re.compile(r"/gallery/[^/]+")


class AdmissionMiddleware(HTTPMiddleware):
    """Refuses an upload before all other middleware, if it cannot be admitted.

    In an overload most responses are refusals, and their cost slows down the others. So this is the
    outermost middleware, and it logs and counts its own refusals. It leaves two kinds of requests
    to the inner ones. Requests without a valid key get 401. Web pages could not read a refusal
    without CORS headers.
    """

    def __init__(self, app: ASGIApp, keys: Keys, metrics: Metrics) -> None:
        super().__init__(app)
        self.keys = keys
        self.metrics = metrics

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        template = _upload_route(scope["method"], scope["path"])
        if template is not None and not _is_browser_request(scope):
            state: State = scope["app"].state.kindred
            try:
                state.admission.check(UPLOAD_ROUTES.get(template, Priority.BACKGROUND))
            except KindredError as error:
                if self._is_authorized(scope):
                    await self._refuse(template, error, scope, send)
                    return
        await self.app(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        try:
            self.keys.authenticate(scope)
        except KindredError:
            return False
        return True

    async def _refuse(self, template: str, error: KindredError, scope: Scope, send: Send) -> None:
        started = time.perf_counter()
        response = problems.build_response(error, scope["path"])
        headers = [*response.raw_headers, (b"x-request-id", take_request_id(scope).encode())]
        try:  # sent as it is: in an overload most responses are refusals
            await send({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})
        finally:
            seconds = time.perf_counter() - started
            self.metrics.record_request(template, error.status, seconds, error.name)
            log_access(scope, error.status, 1000 * seconds)


def _upload_route(method: str, path: str) -> str | None:
    """Return the route of a request, if it accepts images."""
    if method == "PUT":
        return REPLACE_ROUTE if _ONE_IMAGE.fullmatch(path) else None
    template = _VERSION.sub("{version}", path)
    return template if method == "POST" and template in UPLOAD_ROUTES else None


def _is_browser_request(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])

"""The gate: one ASGI callable around all routes.

In turn, each request passes: admission, its id and its log line, cross-origin rules, keys, the
deadline, the limits of bodies, the state that serves it. Then it is answered by a plan, if there is
one, else by its route. The steps are small functions in the modules beside this one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ClientGoneError, DeadlinePassedError, KindredError
from service.http import plain, problems
from service.http.auth import Keys, is_public
from service.http.gate import admission, image_access
from service.http.gate.exchange import BodyLimits, Exchange, request_id
from service.http.gate.headers import HeaderMap
from service.http.gate.prefix import PathPrefix
from service.retrieval.links import Links, links
from service.settings import Settings
from service.state import State
from service.telemetry.access_log import log_access
from service.telemetry.metrics import Metrics

CORS_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Gate:
    """Handles every HTTP request; passes every other scope on, such as lifespan."""

    def __init__(
        self,
        routes: ASGIApp,
        settings: Settings,
        *,
        keys: Keys,
        metrics: Metrics,
        current: Callable[[], State],
        traced: Callable[[], bool],
        cors_headers: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:
        """Handle the requests of an app.

        Args:
            routes: the app with the routes.
            settings: has the limits and the origins.
            keys: the API keys.
            metrics: count the requests.
            current: returns the state that serves a new request.
            traced: whether requests are spans of OpenTelemetry, which the app makes.
            cors_headers: headers that pages of other origins may send, and may read.

        """
        self._routes = routes
        self._seconds = settings.request_timeout
        self._limits = BodyLimits(settings.max_body_bytes, settings.max_in_flight_bytes)
        self._keys = keys
        self._metrics = metrics
        self._current = current
        self._traced = traced
        self._prefix = PathPrefix(settings.root_path, settings.trusted_proxies)
        self._links = Links(settings.root_path, image_access.signer(settings))
        self._inner: ASGIApp = self._authenticate_and_serve
        if settings.cors_origins:
            # Before authentication, because browsers send preflight requests without a key.
            self._inner = CORSMiddleware(
                self._authenticate_and_serve,
                allow_origins=settings.cors_origins,
                allow_methods=CORS_METHODS,
                allow_headers=cors_headers[0],
                expose_headers=cors_headers[1],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and log, time and count it however it ends."""
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the server's own scope still says so, and sends no body
            scope = {**scope, "method": "GET"}
        headers = HeaderMap(scope["headers"])
        prefix, scope = self._prefix.of(scope, headers), self._prefix.remove(scope)
        if (draws := bool(self._current().bundle.decoders)) != self._links.draws:
            self._links = replace(self._links, draws=draws)
        links.set(
            self._links if prefix == self._links.prefix else replace(self._links, prefix=prefix)
        )
        if (refusal := self._refusal(scope, headers)) is not None:
            await self._refuse(*refusal, scope, headers, send)
            return
        exchange = Exchange(
            scope, headers, receive, send, limits=self._limits, traced=self._traced()
        )
        self._metrics.in_flight.inc()
        try:
            await self._inner(scope, exchange.receive, exchange.send)
        finally:
            self._metrics.in_flight.dec()
            exchange.end()
            self._record(exchange)

    def _refusal(self, scope: Scope, headers: HeaderMap) -> tuple[str, KindredError] | None:
        """Return the route and the error of an upload that is refused before all else.

        In an overload most responses are refusals, and their cost slows down the others. Requests
        without a valid key get 401, and web pages could not read a refusal without CORS headers, so
        both go on.
        """
        template = admission.upload_route(scope["method"], scope["path"])
        if template is None:
            return None
        try:
            self._current().admission.check(admission.priority_of(template))
        except KindredError as error:
            if "origin" in headers or not self._is_authorized(scope, headers):
                return None
            return template, error
        return None

    def _is_authorized(self, scope: Scope, headers: HeaderMap) -> bool:
        try:
            self._keys.authenticate(scope, headers)
        except KindredError:
            return False
        return True

    async def _refuse(
        self, template: str, error: KindredError, scope: Scope, headers: HeaderMap, send: Send
    ) -> None:
        """Send a refusal as it is, without an exchange."""
        started = time.perf_counter()
        response = problems.build_response(error, scope["path"])
        sent = [*response.raw_headers, (b"x-request-id", request_id(headers).encode())]
        try:
            await send({"type": "http.response.start", "status": error.status, "headers": sent})
            await send({"type": "http.response.body", "body": response.body})
        finally:
            seconds = time.perf_counter() - started
            self._metrics.record_request(template, error.status, seconds, error.name)
            log_access(scope["method"], scope["path"], error.status, seconds)

    async def _authenticate_and_serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["state"]["exchange"]
        if not scope["path"]:  # a proxy left its path, without the slash at the end
            await RedirectResponse(links.get().to("/"), HTTPStatus.PERMANENT_REDIRECT)(
                scope, receive, send
            )
            return
        try:
            if not is_public(scope["path"]):
                signed = image_access.role(scope, exchange.headers, self._links.signer)
                scope["state"]["role"] = signed or self._keys.authenticate(scope, exchange.headers)
            exchange.expire_in(self._seconds)
            try:
                await self._serve(exchange, receive, send)
            except asyncio.CancelledError:
                if not exchange.uncancel():
                    raise
                raise self._interruption(exchange) from None
        except KindredError as error:
            await problems.respond(error, scope)(scope, receive, send)

    def _interruption(self, exchange: Exchange) -> KindredError:
        if exchange.expired:
            return DeadlinePassedError(
                f"No response within {self._seconds:g} s: send fewer images, or try again later."
            )
        return ClientGoneError("The client disconnected before the response.")

    async def _serve(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Call the plan or the route. The state stays, even if a reload replaces it."""
        scope, state = exchange.scope, self._current()
        scope["state"]["serving"] = state
        with state.requests.acquire():
            if exchange.traced or (plan := plain.plan_of(scope, exchange.headers, state)) is None:
                await self._routes(scope, receive, send)
                return
            try:
                response = await plain.answer(plan, scope, receive, state)
            except (KindredError, asyncio.CancelledError):
                raise
            except Exception as error:
                response = problems.unexpected(error, scope)
            await response(scope, receive, send)

    def _record(self, exchange: Exchange) -> None:
        scope, status = exchange.scope, exchange.status
        seconds = time.perf_counter() - exchange.started
        # The route's template, never the path: each id would add a time series.
        route = getattr(scope.get("route"), "path", None) or scope["state"].get("template", "none")
        failed = status >= HTTPStatus.BAD_REQUEST
        rejection = scope["state"].get("rejection", "internal") if failed else None
        self._metrics.record_request(route, status, seconds, rejection)
        self._metrics.record_stages(exchange.timings.seconds)
        log_access(scope["method"], scope["path"], status, seconds)


def is_traced(app: Any) -> Callable[[], bool]:  # Any: FastAPI keeps its telemetry to itself
    """Return a function that tells whether FastAPI makes a span of each request."""
    enabled: Callable[[], bool] = app._native_telemetry.enabled
    return enabled

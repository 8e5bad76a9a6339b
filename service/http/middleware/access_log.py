"""Logs, times and counts every request."""

import logging
import time

from opentelemetry import trace
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.middleware.base import HTTPMiddleware
from service.telemetry.metrics import Metrics
from service.telemetry.timings import timings_of

access = logging.getLogger("service.access")


class AccessLogMiddleware(HTTPMiddleware):
    """Logs, times and counts every request, however it ends.

    Sends the seconds of each stage as `Server-Timing`, and adds them to the OpenTelemetry span of
    the request if there is one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self.metrics = metrics

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        timings = timings_of(scope)
        span = trace.get_current_span()
        started = time.perf_counter()
        status = 500

        async def send_with_timings(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if timings.seconds:
                    MutableHeaders(scope=message)["Server-Timing"] = timings.header()
                for stage, seconds in timings.seconds.items():
                    span.set_attribute(f"kindred.{stage}.seconds", seconds)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_timings)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.in_flight.dec()
            # The route's template, never the path: each id would add a time series.
            route = getattr(scope.get("route"), "path", "none")
            rejection = scope["state"].get("rejection", "internal") if status >= 400 else None
            self.metrics.record_request(route, status, seconds, rejection)
            for stage, stage_seconds in timings.seconds.items():
                self.metrics.stages.labels(stage).observe(stage_seconds)
            log_access(scope, status, 1000 * seconds)


def log_access(scope: Scope, status: int, milliseconds: float) -> None:
    """Log a request in one line, with its full path."""
    if not access.isEnabledFor(logging.INFO):
        return
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "milliseconds": round(milliseconds, 3),
    }
    access.info("%(method)s %(path)s %(status)d in %(milliseconds).1f ms", fields, extra=fields)

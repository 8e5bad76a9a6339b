"""`GET /metrics`: metrics for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.http.dependencies import StateDep
from service.http.gate.headers import by_preference

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format, or OpenMetrics if `Accept` asks for it.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        }
    },
)
def metrics(
    state: StateDep, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """Return the metrics of this process, in the format that is asked for."""
    content, media_type = state.metrics.exposition(preferred_formats(accept))
    return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})


def preferred_formats(accept: str) -> str:
    """Return the formats that are accepted, best first, up to the plain text that always is.

    The encoder takes the first that it has, and does not read q-values.
    """
    formats = []
    for element, quality in by_preference(accept):
        if quality > 0:
            formats.append(element)
        if not element.startswith("application/"):
            break
    return ",".join(formats)

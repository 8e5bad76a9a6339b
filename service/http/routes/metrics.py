"""`GET /metrics`: metrics for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.http.dependencies import StateDep

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}},
)
def metrics(state: StateDep) -> Response:
    """Return the metrics of this process in Prometheus's text format."""
    return Response(state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

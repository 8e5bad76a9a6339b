"""`GET /livez` and `/readyz`: liveness and readiness probes."""

from fastapi import APIRouter

from service.errors import UnavailableError
from service.http.dependencies import StateDep
from service.http.problems import error_responses
from service.schemas.base import Health

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> Health:
    """Report that the process is alive, even if it accepts no images."""
    return Health(status="alive")


@router.get("/readyz", responses=error_responses(503))
async def readyz(state: StateDep) -> Health:
    """Report whether the service accepts images; if not, the error says why."""
    reasons = ["the service is draining"] if state.lifecycle.draining else []
    if reason := state.engine.unhealthy_reason:
        reasons.append(reason)
    if reasons:
        raise UnavailableError(f"Not ready: {'; '.join(reasons)}.")
    return Health(status="ready")

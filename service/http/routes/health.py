"""`GET /livez` and `/readyz`: whether to restart this process, and whether to send it requests."""

from fastapi import APIRouter

from service.errors import UnavailableError
from service.http.dependencies import StateDep
from service.http.problems import error_responses
from service.schemas.base import Health

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> Health:
    """Say that the process answers; however much it has to do."""
    return Health(status="alive")


@router.get("/readyz", responses=error_responses(503))
async def readyz(state: StateDep) -> Health:
    """Say whether pictures are taken, or why not."""
    reasons = ["the service is draining"] if state.lifecycle.draining else []
    if reason := state.engine.unhealthy_reason:
        reasons.append(reason)
    if reasons:
        raise UnavailableError(f"Not ready: {'; '.join(reasons)}.")
    return Health(status="ready")

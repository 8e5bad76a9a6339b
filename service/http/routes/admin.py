"""`POST /admin/…`: what changes the service while it runs."""

from fastapi import APIRouter, Request

from service.http.auth import RequireAdmin
from service.http.problems import error_responses
from service.schemas.base import ReloadResponse
from service.server.reload import Reloader

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post("/reload", responses=error_responses(409, 503, 504))
async def reload(request: Request, _: RequireAdmin) -> ReloadResponse:
    """Serve what stands at the bundle's place now; where it does not verify, nothing changes.

    Where this takes longer than the deadline, the answer is 504, and the change goes on.
    """
    reloader: Reloader = request.app.state.reloader
    return await reloader.reload()

"""`POST /admin/…`: what changes the service while it runs."""

from fastapi import APIRouter, Request

from service.http.auth import MayChange
from service.http.problems import documented
from service.schemas.base import Reloaded
from service.server.reload import Reloader

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post("/reload", responses=documented(409, 503, 504))
async def reload(request: Request, _: MayChange) -> Reloaded:
    """Serve what stands at the bundle's place now; where it does not verify, nothing changes.

    Where this takes longer than the deadline, the answer is 504, and the change goes on.
    """
    reloader: Reloader = request.app.state.reloader
    return await reloader.reload()

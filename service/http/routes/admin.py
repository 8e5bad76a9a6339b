"""`POST /admin/reload`: load the bundle again while the service runs."""

from fastapi import APIRouter, Request

from service.errors import BundleRefusedError
from service.http.auth import RequireAdmin
from service.http.problems import error_responses
from service.schemas.base import ReloadResponse
from service.server.reload import Reloader

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post("/reload", responses=error_responses(BundleRefusedError, 503, 504))
async def reload(request: Request, _: RequireAdmin) -> ReloadResponse:
    """Load the bundle again from its folder, and serve it.

    If it does not verify, the service keeps the current bundle. If the reload takes longer than
    the deadline, the response is 504 and the reload continues.
    """
    reloader: Reloader = request.app.state.reloader
    return await reloader.reload()

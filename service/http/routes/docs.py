"""`GET /docs`: Swagger UI, from an installed package.

FastAPI's own page at `/docs` loads it from a CDN, and is blank without internet access.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from service.errors import NotFoundError
from service.http.routes import web

router = APIRouter(prefix="/docs", include_in_schema=False)

SWAGGER_UI: Final = Path(str(files("fastapi_offline"))) / "static"
ASSETS: Final = {
    name: web.Asset.read(SWAGGER_UI / name) for name in ("swagger-ui.css", "swagger-ui-bundle.js")
}


@router.get("")
async def docs(request: Request) -> Response:
    """Return the page that shows the OpenAPI document."""
    return web.answer(request, web.ASSETS["docs.html"], web.POLICY)


@router.get("/{name}")
async def asset(request: Request, name: str) -> Response:
    """Return one of the two files of Swagger UI.

    Raises:
        NotFoundError: the name is neither of them.

    """
    if name not in ASSETS:
        raise NotFoundError(f"/docs has no file {name!r}.")
    return web.answer(request, ASSETS[name], web.POLICY)

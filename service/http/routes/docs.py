"""`GET /docs`: Swagger UI, from an installed package.

FastAPI's own page at `/docs` loads it from a CDN, and is blank without internet access.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from service.errors import NotFoundError
from service.http.routes.web import POLICY, WEB, answer

router = APIRouter(prefix="/docs", include_in_schema=False)

SWAGGER_UI: Final = Path(str(files("fastapi_offline"))) / "static"
ASSETS: Final = ("swagger-ui.css", "swagger-ui-bundle.js")


@router.get("")
def docs(request: Request) -> Response:
    """Return the page that shows the OpenAPI document."""
    return answer(request, WEB / "docs.html", POLICY)


@router.get("/{name}")
def asset(request: Request, name: str) -> Response:
    """Return one of the two files of Swagger UI.

    Raises:
        NotFoundError: the name is neither of them.

    """
    if name not in ASSETS:
        raise NotFoundError(f"/docs has no file {name!r}.")
    return answer(request, SWAGGER_UI / name, POLICY)

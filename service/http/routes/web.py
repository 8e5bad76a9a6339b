"""`GET /` and `/web/…`: the web page, from `service/web/`; it loads nothing from other hosts.

Knows files and headers; nothing of inference or the gallery.
"""

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from service.errors import NotFoundError

router = APIRouter(include_in_schema=False)

WEB: Final = Path(__file__).parents[2] / "web"
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STRICT_POLICY: Final = f"{POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
"""Also forbids text to become markup: the page creates each element by code."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The browser revalidates each time: file names do not change with their contents.
    "Cache-Control": "no-cache",
}


@router.get("/")
def page(request: Request) -> Response:
    """Return the page."""
    return answer(request, WEB / "index.html")


@router.get("/web/{path:path}")
def asset(request: Request, path: str) -> Response:
    """Return a stylesheet, module or image of the page.

    Raises:
        NotFoundError: the page has no file at that path.

    """
    # The path is compared, never joined, so `..` reaches no other folder.
    for file in WEB.rglob("*.*"):
        if file.relative_to(WEB).as_posix() == path and file.suffix in MEDIA_TYPES:
            return answer(request, file)
    raise NotFoundError(f"The page has no file {path!r}.")


def answer(request: Request, file: Path, policy: str = STRICT_POLICY) -> Response:
    """Return the file, or 304 if the copy of the browser is current."""
    content = file.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "Content-Security-Policy": policy, "ETag": etag}
    known = request.headers.get("If-None-Match", "")
    if etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[file.suffix], headers=headers)

"""`GET /` and `/web/…`: the web page, from `service/web/`; it loads nothing from other hosts.

Its files are read once and held in memory, so that they are served even if no file can be opened.
Knows files and headers; nothing of inference or the gallery.
"""

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

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


@dataclass(frozen=True)
class Asset:
    """A file of the page, in memory."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the file."""
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, MEDIA_TYPES[file.suffix], etag)


ASSETS: Final = {
    file.relative_to(WEB).as_posix(): Asset.read(file)
    for file in WEB.rglob("*.*")
    if file.suffix in MEDIA_TYPES
}
"""All files of the page by their paths."""


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return answer(request, ASSETS["index.html"])


@router.get("/web/{path:path}")
async def asset(request: Request, path: str) -> Response:
    """Return a stylesheet, module or image of the page.

    Raises:
        NotFoundError: the page has no file at that path.

    """
    if path not in ASSETS:
        raise NotFoundError(f"The page has no file {path!r}.")
    return answer(request, ASSETS[path])


def answer(request: Request, asset: Asset, policy: str = STRICT_POLICY) -> Response:
    """Return the file, or 304 if the copy of the browser is current."""
    headers = {**HEADERS, "Content-Security-Policy": policy, "ETag": asset.etag}
    known = request.headers.get("If-None-Match", "")
    if asset.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)

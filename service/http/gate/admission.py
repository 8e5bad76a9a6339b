"""The routes of uploads, which are refused early while no more images are admitted.

Knows paths and priorities; nothing of images.
"""

import re
from typing import Final

from service.engine.types import Priority

UPLOAD_ROUTES: Final = {
    "/predict": Priority.INTERACTIVE,
    "/classify": Priority.INTERACTIVE,
    "/similar": Priority.INTERACTIVE,
    "/embed": Priority.INTERACTIVE,
    "/map": Priority.INTERACTIVE,
    "/reconstruct": Priority.INTERACTIVE,
    "/gallery": Priority.BACKGROUND,
    "/v2/models/kindred/infer": Priority.INTERACTIVE,
    "/v2/models/kindred/versions/{version}/infer": Priority.INTERACTIVE,
}
"""Routes of POST requests with images, and the priority that admits them."""
REPLACE_ROUTE: Final = "/gallery/{image_id}"
"""The route of PUT requests with images, which the priority of additions admits."""
_VERSION: Final = re.compile(r"(?<=/versions/)[^/]+(?=/)")
_ONE_IMAGE: Final = re.compile(r"/gallery/[^/]+")


def upload_route(method: str, path: str) -> str | None:
    """Return the route of a request, if it accepts images."""
    if method == "POST":
        if path in UPLOAD_ROUTES:
            return path
        template = _VERSION.sub("{version}", path)
        return template if template in UPLOAD_ROUTES else None
    if method == "PUT" and _ONE_IMAGE.fullmatch(path):
        return REPLACE_ROUTE
    return None


def priority_of(template: str) -> Priority:
    """Return the priority that admits the images of an upload route."""
    return UPLOAD_ROUTES.get(template, Priority.BACKGROUND)

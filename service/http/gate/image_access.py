"""Access to a gallery image by the signature in its address, in place of an API key.

Knows the path and the query of image addresses; nothing of the gallery.
"""

import re
from typing import Final
from urllib.parse import parse_qs

from starlette.types import Scope

from service.errors import UnauthorizedError
from service.http.auth import Role, has_key
from service.http.gate.headers import HeaderMap
from service.retrieval.links import ImageSigner
from service.settings import Settings

_IMAGE: Final = re.compile(r"/gallery/([^/]+)/(?:image|reconstruction)")


def signer(settings: Settings) -> ImageSigner | None:
    """Return what signs image addresses; None if reading needs no key."""
    if not settings.api_keys:
        return None
    keys = (key.get_secret_value() for key in (*settings.api_keys, *settings.admin_keys))
    return ImageSigner(keys, settings.image_link_timeout)


def role(scope: Scope, headers: HeaderMap, signer: ImageSigner | None) -> Role | None:
    """Return the role that the signature in an image's address gives; None without a signature.

    A key in the headers counts more.

    Raises:
        UnauthorizedError: the signature is not valid, or not any more.

    """
    if signer is None or b"signature=" not in scope["query_string"] or has_key(headers):
        return None
    image = _IMAGE.fullmatch(scope["path"])
    if image is None or scope["method"] != "GET":
        return None
    query = parse_qs(scope["query_string"].decode("latin-1"))
    (expires, *_), (signature, *_) = query.get("expires", [""]), query.get("signature", [""])
    if not re.fullmatch("[0-9]{1,12}", expires) or not signer.is_valid(
        image[1], int(expires), signature
    ):
        raise UnauthorizedError(
            "This image address has expired or was changed: request a new one, or send a key."
        )
    return Role.READ

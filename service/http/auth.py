"""Who may ask, and who may change what is served: API keys, compared in constant time.

Without keys, whoever asks this machine by its own name. Knows headers and settings; nothing of
routes.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from enum import IntEnum
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from service.errors import ForbiddenError, MisdirectedError, UnauthorizedError
from service.settings import is_loopback

PUBLIC_PATHS = frozenset(
    {
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/v2/health/live",
        "/v2/health/ready",
    }
)

PUBLIC_PREFIXES = ("/web/", "/docs/")
"""Health, metrics and what a browser loads before it can send a key; none of it tells a secret."""


class Role(IntEnum):
    """What the sender of a request may do; each may do what those before it may."""

    READ = 1
    WRITE = 2


class Keys:
    """The keys there are, as digests; and what a request with one of them, or none, may do.

    Without any keys everything is allowed: the service then answers on this machine only, unless
    it was told to be `open`, in which case nobody may change anything.
    """

    def __init__(
        self, readers: Iterable[str], admins: Iterable[str], *, allow_anonymous: bool
    ) -> None:
        self._readers = [_digest(key) for key in readers]
        self._admins = [_digest(key) for key in admins]
        self._open = allow_anonymous

    @property
    def known(self) -> bool:
        """Whether there are any, so that a wrong one is refused."""
        return bool(self._readers or self._admins)

    @property
    def required(self) -> bool:
        """Whether reading needs a key."""
        return bool(self._readers)

    @property
    def local(self) -> bool:
        """Whether all that keeps others out is that they cannot reach this machine's address."""
        return not (self._readers or self._open)

    def authenticate(self, scope: Scope) -> Role:
        """What the sender of a request may do.

        Raises:
            MisdirectedError: without keys, it asks under a name that is none of this machine's.
            UnauthorizedError: a key is needed, or this one is not known.

        """
        if self.local:
            _require_known_host(scope)
        return self.role(Headers(scope=scope))

    def role(self, headers: Headers) -> Role:
        """What the sender of these headers may do.

        Raises:
            UnauthorizedError: a key is needed, or this one is not known.

        """
        given = _key_digest(headers)
        if given is not None:
            if _contains_digest(given, self._admins):
                return Role.WRITE
            if _contains_digest(given, self._readers):
                return Role.READ
            if self.known:
                raise UnauthorizedError("This key is not known here.")
        if self._readers:
            raise UnauthorizedError(
                "A key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            )
        if self._admins or self._open or _is_cross_site(headers):
            return Role.READ
        return Role.WRITE


def is_public(path: str) -> bool:
    """Whether a path is for everybody who reaches it."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


def require_admin(request: Request) -> None:
    """Refuse whoever may only read.

    Raises:
        ForbiddenError: the sender has no admin key.

    """
    if request.state.role < Role.WRITE:
        raise ForbiddenError(
            "This changes what is served, and needs an admin key: see KINDRED_ADMIN_KEYS."
        )


RequireAdmin = Annotated[None, Depends(require_admin)]
"""For routes that change something."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _contains_digest(given: bytes, known: Collection[bytes]) -> bool:
    """Every known key is compared, whichever fits: time tells nothing of them."""
    found = [hmac.compare_digest(given, one) for one in known]
    return any(found)


def _key_digest(headers: Headers) -> bytes | None:
    """The digest of the key that was sent, if one was."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return _digest(token.strip())
    key = headers.get("X-API-Key", "").strip()
    return _digest(key) if key else None


def _is_cross_site(headers: Headers) -> bool:
    """Whether a page of another site sends this: it may not use that we trust this machine."""
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != headers.get("Host")


def _require_known_host(scope: Scope) -> None:
    """Refuse a page that reaches this machine by a name of its own (DNS rebinding).

    For its browser that name is the page's own site, to which it may send what it likes. Browsers
    always send the name; what sends none is no page.

    Raises:
        MisdirectedError: the name is none of this machine's.

    """
    asked = Headers(scope=scope).get("Host")
    if asked is None:
        return
    try:
        name = urlsplit(f"//{asked}").hostname or ""
    except ValueError:
        name = ""
    came_in_at, _ = scope.get("server") or (None, None)
    if not is_loopback(name) and name != came_in_at:
        raise MisdirectedError(
            f"Without keys, only this machine is answered, and {asked[:100]!r} is not its name: "
            "ask at http://localhost or http://127.0.0.1, or set KINDRED_API_KEYS, or "
            "KINDRED_ALLOW_ANONYMOUS=true to answer everybody."
        )

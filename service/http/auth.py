"""Authenticates requests by API key; compares keys in constant time.

Without keys, answers only requests addressed to this machine. Knows headers and settings, but no
routes.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.types import Scope

from service.errors import ForbiddenError, MisdirectedError, UnauthorizedError
from service.http.gate.headers import HeaderMap
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
"""Health, metrics and the files that a browser loads before it can send a key. None is secret."""


class Role(IntEnum):
    """What a request may do; a higher role includes the lower ones."""

    READ = 1
    WRITE = 2


class Keys:
    """Knows the digests of the API keys, and the role that each key gives.

    Without any keys every request may do everything: the service then answers on this machine
    only. With `allow_anonymous` and no keys, every request may read and none may write.
    """

    def __init__(
        self, readers: Iterable[str], admins: Iterable[str], *, allow_anonymous: bool
    ) -> None:
        self._readers = [_digest(key) for key in readers]
        self._admins = [_digest(key) for key in admins]
        self._allow_anonymous = allow_anonymous

    @property
    def known(self) -> bool:
        """Whether any keys are set, so that a wrong key is refused."""
        return bool(self._readers or self._admins)

    @property
    def required(self) -> bool:
        """Whether reading needs a key."""
        return bool(self._readers)

    @property
    def local(self) -> bool:
        """Whether only requests addressed to this machine are answered."""
        return not (self._readers or self._allow_anonymous)

    def authenticate(self, scope: Scope, headers: HeaderMap) -> Role:
        """Return the role of a request.

        Raises:
            MisdirectedError: no keys are set, and the `Host` header names another machine.
            UnauthorizedError: the key is missing or unknown.

        """
        if self.local:
            _require_known_host(headers.get("Host"), scope.get("server"))
        return self.role(headers)

    def role(self, headers: HeaderMap) -> Role:
        """Return the role that these headers give.

        Raises:
            UnauthorizedError: the key is missing or unknown.

        """
        given = _key_digest(headers)
        if given is not None:
            if _contains_digest(given, self._admins):
                return Role.WRITE
            if _contains_digest(given, self._readers):
                return Role.READ
            if self.known:
                raise UnauthorizedError("Unknown API key: check that it was sent in full.")
        if self._readers:
            raise UnauthorizedError(
                "An API key is required: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            )
        if self._admins or self._allow_anonymous or _is_cross_site(headers):
            return Role.READ
        return Role.WRITE


def is_public(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


def has_key(headers: HeaderMap) -> bool:
    """Return whether these headers have a key, known or not."""
    return _key_digest(headers) is not None


async def require_admin(request: Request) -> None:
    """Refuse a request that may only read.

    Raises:
        ForbiddenError: the request has no admin key.

    """
    if request.state.role < Role.WRITE:
        raise ForbiddenError("This operation needs an admin key: see KINDRED_ADMIN_KEYS.")


RequireAdmin = Annotated[None, Depends(require_admin)]
"""The parameter of routes that change the service."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _contains_digest(given: bytes, known: Collection[bytes]) -> bool:
    """Compare with every known digest, so that the time taken does not depend on which matches."""
    matches = [hmac.compare_digest(given, one) for one in known]
    return any(matches)


def _key_digest(headers: HeaderMap) -> bytes | None:
    """Return the digest of the key in these headers, or None if they have none."""
    scheme, _, token = headers.text("Authorization").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return _digest(token.strip())
    key = headers.text("X-API-Key").strip()
    return _digest(key) if key else None


def _is_cross_site(headers: HeaderMap) -> bool:
    """Return whether a page of another origin sent this; it must not write without a key.

    Browsers send `Origin` with what changes anything. Where it was removed, `Sec-Fetch-Site` and
    `Referer` tell the same.
    """
    host = headers.get("Host")
    origin = headers.get("Origin")
    if origin is not None:
        return origin.partition("://")[2] != host
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    referer = headers.get("Referer")
    return referer is not None and referer.partition("://")[2].partition("/")[0] != host


def _require_known_host(host: str | None, server: tuple[str, int | None] | None) -> None:
    """Refuse a `Host` that is not a name or address of this machine (DNS rebinding).

    A page can point a name of its own at this machine; to the browser both are then the same site.
    Browsers always send `Host`, so a request without it does not come from a page.

    Raises:
        MisdirectedError: `Host` names another machine.

    """
    if host is not None and not _is_own_name(host, server[0] if server else None):
        raise MisdirectedError(
            f"Without API keys, only requests to this machine are answered, and {host[:100]!r} is "
            "not its name. Use http://localhost or http://127.0.0.1, set KINDRED_API_KEYS, or set "
            "KINDRED_ALLOW_ANONYMOUS=true to answer requests under any name."
        )


@lru_cache(maxsize=64)
def _is_own_name(host: str, server_address: str | None) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    return is_loopback(name) or name == server_address

"""The path under which a proxy serves the service: set, or told by a proxy that is trusted.

Knows headers, paths and addresses of peers; nothing of routes.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from starlette.types import Scope

from service.http.gate.headers import HeaderMap
from service.settings import Network, is_path_prefix

HEADER: Final = "x-forwarded-prefix"
_SLASHES: Final = re.compile(r"/+$")


class PathPrefix:
    """Finds the path that clients put before those of the service."""

    def __init__(self, root_path: str, trusted_proxies: Sequence[Network]) -> None:
        """Take the prefix from the setting, or from the header of a trusted proxy."""
        self._root_path = root_path
        self._trusted = tuple(trusted_proxies)

    def of(self, scope: Scope, headers: HeaderMap) -> str:
        """Return the prefix of a request, such as `/kindred`; empty if there is none."""
        given = headers.get(HEADER) if self._trusted else None
        if given is not None and self._is_trusted(scope):
            # Each proxy in a row adds the part that it removes.
            prefix = "".join(_SLASHES.sub("", part.strip()) for part in given.split(","))
            if not prefix or is_path_prefix(prefix):
                return prefix
        return self._root_path

    def remove(self, scope: Scope) -> Scope:
        """Return the scope with the path as the routes know it, if the proxy left the prefix."""
        root, path = self._root_path, scope["path"]
        if not root or not (path == root or path.startswith(f"{root}/")):
            return scope
        return {**scope, "path": path[len(root) :]}

    def _is_trusted(self, scope: Scope) -> bool:
        client = scope.get("client")
        return client is not None and _is_within(client[0], self._trusted)


@lru_cache(maxsize=256)
def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)

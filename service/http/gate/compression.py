"""Compresses complete response bodies by gzip, for clients that accept it.

Knows headers and bytes; nothing of requests.
"""

import gzip
from collections.abc import Iterable
from typing import Final

import anyio.to_thread
from starlette.datastructures import MutableHeaders

from service.http.gate.headers import by_preference

MIN_BYTES: Final = 1024
"""Bodies below it are sent as they are."""
THREAD_BYTES: Final = 128 * 1024
"""Bodies from this size on are compressed in a thread."""
LEVEL: Final = 1
_COMPRESSIBLE: Final = (
    *(b"text/", b"application/json", b"application/problem+json", b"image/svg+xml"),
    b"application/openmetrics-text",
)
"""The beginnings of the media types that become smaller."""


def accepts_gzip(header: str) -> bool:
    """Return whether an `Accept-Encoding` header accepts gzip, and does not prefer `identity`.

    See RFC 9110, 12.5.3.
    """
    if not header:
        return False
    qualities = {
        element.partition(";")[0].strip(): quality
        for element, quality in by_preference(header.lower())
    }
    gzipped = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzipped > 0 and gzipped >= qualities.get("identity", 0.0)


def is_compressible(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a response of these headers becomes smaller and is not compressed yet."""
    compressible = False
    for name, value in headers:
        if name == b"content-type":
            compressible = value.lower().startswith(_COMPRESSIBLE)
        elif name == b"content-encoding":
            return False
    return compressible


async def compress(headers: MutableHeaders, body: bytes, *, accepted: bool) -> bytes:
    """Compress a body if gzip is accepted; say in the headers that the response varies."""
    if len(body) < MIN_BYTES:
        return body
    headers.add_vary_header("Accept-Encoding")
    if not accepted:
        return body
    if len(body) < THREAD_BYTES:
        packed = gzip.compress(body, LEVEL, mtime=0)
    else:
        packed = await anyio.to_thread.run_sync(gzip.compress, body, LEVEL)
    headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(packed))
    return packed

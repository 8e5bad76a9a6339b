"""Responses that clients keep, and ask about again by their entity tag (RFC 9110, 13.1.2)."""

import hashlib

from fastapi import Response

from service.state import State


def caching_headers(state: State, etag: str) -> dict[str, str]:
    """Return the headers of a response that a client may keep if it asks whether it is current."""
    # A shared cache must not serve, without a key, what needs one.
    cache = "private" if state.settings.api_keys else "public"
    return {"ETag": etag, "Cache-Control": f"{cache}, no-cache"}  # PUT may replace any image


def is_current(etag: str, if_none_match: str) -> bool:
    """Return whether the copy of the client, by its `If-None-Match`, has this entity tag."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(known & {etag, "*"})


def respond_unless_current(
    state: State, content: bytes, media_type: str, if_none_match: str
) -> Response:
    """Respond with the content, or with 304 if the client has it already."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = caching_headers(state, etag)
    if is_current(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)

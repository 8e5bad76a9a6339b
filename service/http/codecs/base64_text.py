"""Decodes base64 as clients write it: with line breaks, URL-safe, without padding."""

import base64
from typing import Final

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_WHITESPACE: Final = b" \t\r\n"


def decode(text: str) -> bytes:
    """Decode standard or URL-safe base64 (RFC 4648). Line breaks and missing padding are allowed.

    Raises:
        ValueError: the text is not base64.

    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        plain = text.encode("ascii").translate(_STANDARD, _WHITESPACE)
        padding = b"" if plain.endswith(b"=") else b"=" * (-len(plain) % 4)
        return base64.b64decode(plain + padding, validate=True)

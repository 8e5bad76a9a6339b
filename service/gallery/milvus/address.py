"""Parses the address of a gallery on a Milvus. Knows addresses; nothing of Milvus itself."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from service.errors import nearest

DEFAULT: Final = "kindred"
SCHEMES: Final = {"milvus": "http", "milvus+tls": "https"}
_MEANT: Final = {"http": "milvus", "https": "milvus+tls"}


def is_milvus(address: str) -> bool:
    """Return whether an address is that of a Milvus, not of a folder."""
    return address.partition(":")[0].lower() in SCHEMES


def check_address(address: str) -> str:
    """Return the address of a gallery unchanged.

    Raises:
        ValueError: it is neither the path of a folder nor the URL of a Milvus.

    """
    if is_milvus(address):
        MilvusAddress.parse(address)
    elif matched := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address):
        scheme = matched[1].lower()
        meant = _MEANT.get(scheme) or nearest(scheme, SCHEMES)
        hint = f"did you mean {meant}://?" if meant else "give a folder, or the URL of a Milvus"
        raise ValueError(f"{scheme}:// is not the address of a gallery: {hint}")
    return address


@dataclass(frozen=True)
class MilvusAddress:
    """The address of a collection: `milvus://host:19530/name`, or `milvus:///folder/file.db#name`.

    `milvus+tls://` encrypts. `user:password@` or `token@` before the host authenticates.
    """

    uri: str
    name: str = DEFAULT
    token: str = ""
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "MilvusAddress":
        """Parse a URL.

        Raises:
            ValueError: the URL has neither form; the message shows both.

        """
        parts = urlsplit(text)
        inside = unquote(parts.path)
        name = (inside.strip("/") if parts.netloc else parts.fragment) or DEFAULT
        if parts.scheme in SCHEMES and name.isidentifier():
            if _has_port(parts) and not parts.fragment:
                token, _, host = parts.netloc.rpartition("@")
                address = host if parts.port else f"{host}:19530"
                return cls(f"{SCHEMES[parts.scheme]}://{address}", name, unquote(token))
            if not parts.netloc and inside.endswith(".db"):
                return cls(inside, name, file=Path(inside))
        raise ValueError(
            "a Milvus is given as milvus://host:19530/collection, or as a file of milvus-lite, "
            "milvus:///folder/gallery.db#collection; a collection's name has letters, digits and _"
        )


def _has_port(parts: SplitResult) -> bool:
    """Return whether a URL has a host, and a valid port or none."""
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False

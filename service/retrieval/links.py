"""Addresses in responses: under the path of a proxy, and signed where an image needs a key.

The gate sets `links` for each request. Knows paths and ids; nothing of requests.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_NEEDS_NO_QUOTING: Final = re.compile(r"[A-Za-z0-9_.~-]+")


class ImageSigner:
    """Signs addresses of images, so that a browser may load them without a key.

    A signature is valid for one image until a time. All replicas with the same keys accept it; when
    a key is added or removed, the earlier ones end.
    """

    def __init__(
        self, keys: Iterable[str], seconds: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare to sign with a secret made of the API keys; no signature is valid for longer."""
        parts = (hashlib.sha256(key.encode()).digest() for key in sorted(keys))
        self._secret = hashlib.sha256(b"kindred image address" + b"".join(parts)).digest()
        self._step = max(seconds // 2, 1)
        self._clock = clock

    def query(self, image_id: str) -> str:
        """Return the query that permits reading an image.

        It stays the same for half of its time, so that a browser finds the image in its cache.
        """
        expires = (int(self._clock()) // self._step + 2) * self._step
        return f"expires={expires}&signature={self._sign(image_id, expires)}"

    def is_valid(self, image_id: str, expires: int, signature: str) -> bool:
        """Return whether a query permits reading this image now."""
        signed = self._sign(image_id, expires)
        return hmac.compare_digest(signature.encode(), signed.encode()) and (
            self._clock() < expires
        )

    def _sign(self, image_id: str, expires: int) -> str:
        return hmac.digest(self._secret, f"{expires} {image_id}".encode(), "sha256").hex()[:32]


@dataclass(frozen=True)
class Links:
    """Makes addresses for one client: below `prefix`, with images signed if there is a signer.

    `draws` says whether the bundle has decoders, so that there are reconstructions.
    """

    prefix: str = ""
    signer: ImageSigner | None = None
    draws: bool = False

    def to(self, path: str) -> str:
        """Return the address of a path of the service."""
        return self.prefix + path

    def to_item(self, image_id: str) -> str:
        """Return the address of a gallery image's metadata."""
        name = image_id if _NEEDS_NO_QUOTING.fullmatch(image_id) else quote(image_id, safe="")
        return f"{self.prefix}/gallery/{name}"

    def to_image(self, image_id: str) -> str:
        """Return the address of a gallery image's pixels."""
        return self._signed(f"{self.to_item(image_id)}/image", image_id)

    def to_reconstruction(self, image_id: str) -> str | None:
        """Return the address of a gallery image's reconstruction; None without decoders."""
        path = f"{self.to_item(image_id)}/reconstruction"
        return self._signed(path, image_id) if self.draws else None

    def _signed(self, path: str, image_id: str) -> str:
        return path if self.signer is None else f"{path}?{self.signer.query(image_id)}"


links: ContextVar[Links] = ContextVar("links", default=Links())  # noqa: B039  it is immutable
"""The addresses for the client of this request; threads that work for it know them too."""

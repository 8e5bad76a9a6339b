"""The service's errors. Each class has its HTTP status, its title and its problem type.

Raise them where the fact is known; `http/problems.py` alone turns them into responses. Imports no
HTTP library.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like an unknown one, or None if none is."""
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return found[0] if found else None


def did_you_mean(fact: str, name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a sentence: a fact about an unknown name, and the nearest known name, if any.

    The names are without the prefix that all of them have, which would make them alike.
    """
    found = nearest(name, known)
    return f"{fact}: did you mean {prefix}{found}?" if found else f"{fact}."


class KindredError(Exception):
    """The base class of errors that a client sees; `detail` says what to do, in a sentence."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal server error"
    name: ClassVar[str] = "internal"
    retry_after: ClassVar[int | None] = None
    """Seconds to wait before a retry; None if a retry would not help."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class MalformedBodyError(KindredError):
    """The body does not match its content type, or holds no image."""

    status = 400
    title = "Malformed request body"
    name = "malformed-body"


class UnauthorizedError(KindredError):
    """The API key is missing or unknown."""

    status = 401
    title = "Unauthorized"
    name = "unauthorized"


class ForbiddenError(KindredError):
    """The API key does not permit this operation."""

    status = 403
    title = "Forbidden"
    name = "forbidden"


class NotFoundError(KindredError):
    """No image, layer, label, experiment or file has this name."""

    status = 404
    title = "Not found"
    name = "not-found"


class NoPixelsError(NotFoundError):
    """The gallery image exists, but its pixels were never stored."""


class MisdirectedError(KindredError):
    """The `Host` header names another machine, as in a DNS rebinding attack."""

    status = 421
    title = "Misdirected request"
    name = "misdirected"


class BundleRefusedError(KindredError):
    """The bundle to reload does not verify or does not run."""

    status = 409
    title = "Bundle refused"
    name = "bundle-refused"


class ConflictError(KindredError):
    """The change contradicts what is stored, such as another image under the same id."""

    status = 409
    title = "Conflict"
    name = "conflict"


class TooLargeError(KindredError):
    """The request has too many bytes, pixels, values or images."""

    status = 413
    title = "Content too large"
    name = "too-large"


class NotAnImageError(KindredError):
    """The content is not an image in a supported format."""

    status = 415
    title = "Unsupported media type"
    name = "not-an-image"


class ClientGoneError(KindredError):
    """The client closed the connection. No client reads this response; the metrics count it."""

    status = 499
    title = "Client closed request"
    name = "client-gone"


class QueueFullError(KindredError):
    """The queue has no capacity for the images of this request."""

    status = 429
    title = "Too many requests"
    name = "queue-full"
    retry_after = 1


class InferenceFailedError(KindredError):
    """Inference fails on this image, but not on the others of its batch."""

    title = "Inference failed"
    name = "inference-failed"


class UnavailableError(KindredError):
    """The service accepts no images now: it is loading, draining or restarting its worker."""

    status = 503
    title = "Service unavailable"
    name = "unavailable"
    retry_after = 2


class NotEmbeddedError(UnavailableError):
    """The gallery image has no vectors of the current network yet."""


class DeadlinePassedError(KindredError):
    """The deadline of the request passed before its response began."""

    status = 504
    title = "Request timed out"
    name = "deadline-passed"


class StorageError(KindredError):
    """A change cannot be stored: the disk is full or read-only. Reads still work."""

    status = 507
    title = "Storage full or read-only"
    name = "storage"

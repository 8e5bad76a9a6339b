"""What can go wrong, by name: each error carries its status, its title and what to do next.

Raised wherever the fact is known, turned into a response in `problems.py` alone. Knows no HTTP
library.
"""

from typing import ClassVar


class KindredError(Exception):
    """Something that the caller is to be told; `detail` is a sentence for people."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong here"
    name: ClassVar[str] = "internal"
    retry_after: ClassVar[int | None] = None
    """Seconds after which it is worth another try."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class MalformedBodyError(KindredError):
    """The body is not what its content type says, or holds no picture."""

    status = 400
    title = "The body cannot be read"
    name = "malformed-body"


class UnauthorizedError(KindredError):
    """A key is needed, and none or an unknown one was sent."""

    status = 401
    title = "A key is needed"
    name = "unauthorized"


class ForbiddenError(KindredError):
    """The key is known, and is not enough for this."""

    status = 403
    title = "Not allowed"
    name = "forbidden"


class NotFoundError(KindredError):
    """No image, layer, label, experiment or file of that name."""

    status = 404
    title = "There is none of that name"
    name = "not-found"


class NoPixelsError(NotFoundError):
    """The gallery has an image, and never had its pixels."""


class MisdirectedError(KindredError):
    """Asked under a name that is not this machine's, as a page elsewhere may have given it one."""

    status = 421
    title = "Asked under another name"
    name = "misdirected"


class BundleRefusedError(KindredError):
    """The bundle that was to be served next cannot be."""

    status = 409
    title = "The new bundle is refused"
    name = "bundle-refused"


class ConflictError(KindredError):
    """There is another image of that id already."""

    status = 409
    title = "There is another of that id"
    name = "conflict"


class TooLargeError(KindredError):
    """Too many bytes, pixels or images."""

    status = 413
    title = "Too large"
    name = "too-large"


class NotAnImageError(KindredError):
    """Not a picture, or not in a format that is taken here."""

    status = 415
    title = "Not an image that is taken here"
    name = "not-an-image"


class ClientGoneError(KindredError):
    """The client has hung up: nobody reads this answer, but the metrics count it."""

    status = 499
    title = "The client has gone"
    name = "client-gone"


class QueueFullError(KindredError):
    """More images wait than may wait."""

    status = 429
    title = "Too busy"
    name = "queue-full"
    retry_after = 1


class InferenceFailedError(KindredError):
    """The network failed on this image, though it works on others."""

    title = "The network failed on this image"
    name = "inference-failed"


class UnavailableError(KindredError):
    """No images are taken now: loading, draining, or the worker has died and is being restarted."""

    status = 503
    title = "Not ready"
    name = "unavailable"
    retry_after = 2


class NotEmbeddedError(UnavailableError):
    """The gallery has an image, and not yet its vectors by this network."""


class DeadlinePassedError(KindredError):
    """There was no answer in time, so none will be worked out."""

    status = 504
    title = "Out of time"
    name = "deadline-passed"


class StorageError(KindredError):
    """A change cannot be kept: the disk is full, or may not be written. All else goes on."""

    status = 507
    title = "It cannot be stored"
    name = "storage"

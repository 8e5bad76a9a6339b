"""The protocols that every gallery backend implements: `View` to read, `Gallery` to change.

Knows items and vectors; nothing of storage or requests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import ClassVar, Literal, Protocol

from service.errors import KindredError, NotFoundError
from service.gallery.types import (
    MATCH_ALL,
    Added,
    Addition,
    Filter,
    Item,
    NewVectors,
    OutdatedImage,
    Page,
    ScoredItem,
)
from training.bundle import Bundle, Layer, Vectors

Missing = Literal["error", "skip"]
"""What `View.vectors` does about an image that is not there, or not embedded yet."""


class View(Protocol):
    """Reads and searches images. Safe to use from several threads.

    Every method raises `NotFoundError` for a layer, label or id that the gallery does not have. A
    label exists if it is a class of the network or the label of any image.
    """

    classes: tuple[str, ...]
    """The classes of the network."""
    is_frozen: ClassVar[bool]
    """Whether the view never changes."""

    @property
    def dimensions(self) -> Mapping[Layer, int]:
        """The layers that can be searched, and the number of dimensions of their vectors."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that can be searched."""
        return tuple(self.dimensions)

    def dimension(self, layer: Layer) -> int:
        """Return the number of dimensions of the vectors at a layer."""
        if layer not in self.dimensions:
            known = ", ".join(self.layers)
            raise NotFoundError(f"No layer {layer!r} is indexed; available: {known}.")
        return self.dimensions[layer]

    def __len__(self) -> int:
        """Return the number of images."""

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        filter_: Filter = MATCH_ALL,
        exact: bool = False,
    ) -> list[list[ScoredItem]]:
        """Return the `limit` nearest images to each of the queries [N, dimension], best first.

        Args:
            layer: where to compare.
            queries: vectors of any length but 0.
            limit: matches for each query, at most.
            filter_: searches only images that match.
            exact: compares every vector as stored, at fp16 or better.

        """

    def get(self, image_id: str) -> Item:
        """Return the image of that id."""

    def page(self, limit: int, *, after: str = "", filter_: Filter = MATCH_ALL) -> Page:
        """Return up to `limit` matching images whose ids follow `after`, by code points."""

    def pages(self, limit: int) -> Iterator[tuple[Item, ...]]:
        """Yield all images in the order of their ids, up to `limit` at a time."""
        after: str | None = ""
        while after is not None:
            page = self.page(limit, after=after)
            if page.items:
                yield page.items
            after = page.next

    def vectors(
        self, layer: Layer, ids: Sequence[str], *, missing: Missing = "error"
    ) -> dict[str, Vectors]:
        """Return the unit vectors of images at a layer, float32 [dimension], by id.

        Args:
            layer: which vectors.
            ids: of which images.
            missing: "skip" leaves out images that are not there or not embedded yet.

        Raises:
            NotFoundError: with "error", an image is not there.
            NotEmbeddedError: with "error", an image has no vectors of this network yet.

        """

    def image(self, image_id: str) -> bytes:
        """Return the image as a PNG.

        Raises:
            NoPixelsError: the image is there, but its pixels were not stored.

        """

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of an image as a JPEG, if it came with one."""

    def outdated(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of these images that have the vectors of another network."""


class Gallery(Protocol):
    """Counts and changes images; `snapshot` reads them.

    Each change returns a future. When it is done, the change is durable and the next snapshot shows
    it; until the change begins, the future can be cancelled. A change is applied completely or
    not at all. Futures raise `StorageError` if there is no room, and `UnavailableError` if the
    gallery cannot be changed now.
    """

    network: str
    """The `network_id` of the bundle served, whose vectors the gallery searches."""
    side: int
    """Side of the images that this network sees, in pixels."""

    @property
    def added(self) -> int:
        """The number of images added to those of the bundle."""

    @property
    def outdated_count(self) -> int:
        """The number of added images with another network's vectors, and pixels to embed again."""

    def __len__(self) -> int:
        """Return the number of images."""

    def snapshot(self) -> View:
        """Return the gallery as it is now.

        A local snapshot never changes; a Milvus always shows its latest state.
        """

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> Future[list[Added | KindredError]]:
        """Store images in one transaction; return the outcome of each, in order.

        If the id and the pixels are there already, nothing changes, so that retries are safe. If
        the id is there with other pixels, the outcome is a `ConflictError`; `replace` overwrites.
        """

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Future[Item]:
        """Replace the label, `label_predicted` and attributes of an image; return the new item.

        `change` must be pure, as it may be called more than once.

        Raises:
            NotFoundError: from the future; the image is not there.

        """

    def remove(self, image_id: str) -> Future[None]:
        """Remove an image for good, whether it was added or came with the bundle.

        Raises:
            NotFoundError: from the future; the image is not there.

        """

    def atomic(self) -> AbstractContextManager[None]:
        """Store all changes of the block together, or none; for one user at a time.

        A Milvus has no transactions: there, changes made before an error stay.
        """

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Return up to `limit` images to embed again; empty if all are up to date."""

    def renew(self, renewed: Sequence[NewVectors]) -> Future[None]:
        """Store new vectors; skip images that have been changed or removed since."""

    def rebind(self, bundle: Bundle) -> "Gallery":
        """Return a gallery of the same storage with another bundle; each sees all changes.

        Added images whose vectors do not fit the new network are listed, but not searched until
        they have been embedded again.
        """

    def close(self) -> None:
        """Release all resources. Galleries from `rebind` stay open."""

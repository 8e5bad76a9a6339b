"""The protocol that every gallery backend implements."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from service.errors import KindredError, NotEmbeddedError, NotFoundError
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


class View(Protocol):
    """What can be asked of a gallery. Safe to use from several threads.

    Every method raises `NotFoundError` for a layer, label or id that the gallery does not have; a
    label is had where it is a class of the network or the label of any image.
    """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that can be searched."""

    def __len__(self) -> int:
        """How many images there are."""

    def search(
        self,
        layer: Layer,
        queries: Vectors,
        limit: int,
        *,
        filter_: Filter = MATCH_ALL,
        exact: bool = False,
    ) -> list[list[ScoredItem]]:
        """The `limit` nearest to each of the queries [N, dimension], best first.

        Where anything is `filter_`, only among that. `exact` looks at every vector as stored, fp16
        or better.
        """

    def get(self, image_id: str) -> Item:
        """The image of that id."""

    def page(self, limit: int, *, after: str = "", filter_: Filter = MATCH_ALL) -> Page:
        """Up to `limit` of the wanted images whose ids come after `after`, by code points."""

    def vectors(self, layer: Layer, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these images at a layer, float32 [N, dimension]."""

    def image(self, image_id: str) -> bytes:
        """The image as a PNG.

        Raises:
            NoPixelsError: the image is there, and has none.

        """

    def outdated(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these images whose vectors another network made; who has gone is none."""


class Gallery(View, Protocol):
    """Images that can be asked for, and changed.

    A change is kept for good, and seen by whatever is asked next, when its method returns; several
    threads may change at once, and each change is made whole or not at all. Besides
    `NotFoundError`, whatever changes raises `StorageError` where it cannot be kept (the disk is
    full), and `UnavailableError` where it cannot be for now; nothing has changed then.
    """

    @property
    def network(self) -> str:
        """Whose vectors these are: the `network_id` of the bundle served."""

    @property
    def added(self) -> int:
        """How many images have been added to those of the bundle."""

    @property
    def outdated_count(self) -> int:
        """How many of them have vectors that another network made, and pixels to renew them by."""

    def snapshot(self) -> View:
        """The gallery as it is now, and stays for whoever holds this, as far as the home can."""

    def add(
        self, additions: Sequence[Addition], *, replace: bool = False
    ) -> list[Added | KindredError]:
        """Keep images, all of those that can be in one go; each has its own outcome, in order.

        What is there under the same id with the same pixels is left as it is, so that a repetition
        does no harm; with other pixels it is a `ConflictError`. With `replace`, it is replaced.
        """

    def edit(self, image_id: str, change: Callable[[Item], Item]) -> Item:
        """Replace an image's label, `label_predicted` or attributes by those that `change` gives.

        `change` is pure: it may be called more than once. Images of the bundle can be edited too.
        """

    def remove(self, image_id: str) -> None:
        """Take an image away, be it added or the bundle's."""

    def next_outdated(self, limit: int) -> list[OutdatedImage]:
        """Some of the stale images, to be embedded anew; none when all are done."""

    def renew(self, renewed: Sequence[NewVectors]) -> None:
        """Give images their new vectors; those that have changed or gone meanwhile are left."""

    def rebind(self, bundle: Bundle) -> "Gallery":
        """The same images with another bundle's: what is kept is shared, each sees all changes.

        Images whose vectors do not fit the new network's are listed, and not found by a search
        until they have been renewed.
        """

    def close(self) -> None:
        """Give up what is open. What others opened with `under` stays open."""


def vectors_of(view: View, layer: Layer, ids: Sequence[str]) -> dict[str, Vectors]:
    """The unit vectors [dimension] of those images that have some at a layer, by id.

    Others may have gone meanwhile, or not have been embedded yet.
    """
    with suppress(NotFoundError, NotEmbeddedError):
        return dict(zip(ids, view.vectors(layer, ids), strict=True))
    found: dict[str, Vectors] = {}
    for image_id in ids:
        with suppress(NotFoundError, NotEmbeddedError):
            found[image_id] = view.vectors(layer, [image_id])[0]
    return found

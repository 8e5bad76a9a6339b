"""What is searched: one protocol, however the images and their vectors are kept.

Knows ids, labels and vectors; nothing of the network or of requests. A home keeps images for
good: a change that has been made is there after any end of the process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

from service.errors import KindredError
from training.bundle import Bundle, Layer, Vectors

Value = str | int | float | bool
Attributes = Mapping[str, Value]
Source = Literal["bundle", "added"]
"""Whether an image came with the bundle or was added while serving."""


@dataclass(frozen=True)
class Item:
    """One image of the gallery, without its pixels and vectors."""

    id: str
    label: str
    predicted: str | None
    """The class that the network takes it for; None where no logits are kept to tell by."""
    label_predicted: bool = False
    """Whether nobody gave the label: it is the network's own."""
    attributes: Attributes = field(default_factory=dict)
    source: Source = "bundle"
    created_at: datetime | None = None
    """When it was added; None for what came with the bundle."""


@dataclass(frozen=True)
class Match:
    """An image and how like the query it is: their cosine, in [-1, 1]."""

    item: Item
    score: float


@dataclass(frozen=True)
class Page:
    """Some images in the order of their ids, and the cursor to those after them, if any."""

    items: tuple[Item, ...]
    next: str | None


@dataclass(frozen=True)
class Wanted:
    """Which images to look among: those for which everything holds that is given here."""

    label: str | None = None
    predicted: str | None = None
    source: Source | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Names and values, as text: "3" is 3 and "3", "true" is true and "true"."""

    def __bool__(self) -> bool:
        """Whether anything is given."""
        return self != EVERYTHING

    def takes(self, item: Item) -> bool:
        """Whether an image is among them."""
        return (
            self.label in (None, item.label)
            and self.predicted in (None, item.predicted)
            and self.source in (None, item.source)
            and all(
                name in item.attributes and _reads(text, item.attributes[name])
                for name, text in self.attributes
            )
        )


EVERYTHING: Final = Wanted()


@dataclass(frozen=True)
class Addition:
    """An image to be kept, with its vectors [dimension], of any length but 0, at the layers."""

    item: Item
    """Its `source` is "added" and its `created_at` set, but where a bundle is brought in whole."""
    png: bytes | None
    """Lossless, 32 x 32; None only where it comes from a gallery that has no pixels."""
    vectors: Mapping[Layer, Vectors]
    network: str
    """Which network made the vectors: `Bundle.network_id`."""


@dataclass(frozen=True)
class Added:
    """An image that is in the gallery, and what became of it."""

    item: Item
    outcome: Literal["created", "replaced", "unchanged"]


@dataclass(frozen=True)
class Stale:
    """An image whose vectors another network made; `revision` changes when the image does."""

    id: str
    revision: int
    png: bytes


@dataclass(frozen=True)
class Renewed:
    """The vectors of a stale image by the network that serves, and what it takes it for."""

    id: str
    revision: int
    vectors: Mapping[Layer, Vectors]
    predicted: str
    network: str


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
        wanted: Wanted = EVERYTHING,
        exact: bool = False,
    ) -> list[list[Match]]:
        """The `limit` nearest to each of the queries [N, dimension], best first.

        Where anything is `wanted`, only among that. `exact` looks at every vector as stored, fp16
        or better.
        """

    def get(self, image_id: str) -> Item:
        """The image of that id."""

    def page(self, limit: int, *, after: str = "", wanted: Wanted = EVERYTHING) -> Page:
        """Up to `limit` of the wanted images whose ids come after `after`, by code points."""

    def vectors(self, layer: Layer, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these images at a layer, float32 [N, dimension]."""

    def image(self, image_id: str) -> bytes:
        """The image as a PNG.

        Raises:
            NoPixelsError: the image is there, and has none.

        """

    def foreign(self, ids: Sequence[str]) -> frozenset[str]:
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
    def stale(self) -> int:
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

    def next_stale(self, limit: int) -> list[Stale]:
        """Some of the stale images, to be embedded anew; none when all are done."""

    def renew(self, renewed: Sequence[Renewed]) -> None:
        """Give images their new vectors; those that have changed or gone meanwhile are left."""

    def under(self, bundle: Bundle) -> "Gallery":
        """The same images with another bundle's: what is kept is shared, each sees all changes.

        Images whose vectors do not fit the new network's are listed, and not found by a search
        until they have been renewed.
        """

    def close(self) -> None:
        """Give up what is open. What others opened with `under` stays open."""


def _reads(text: str, value: Value) -> bool:
    """Whether a value is what some text says."""
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, str):
        return text == value
    try:
        return float(text) == value
    except ValueError:
        return False

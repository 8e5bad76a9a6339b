"""What is searched: one protocol, however the images and their vectors are kept.

Knows ids, labels and vectors; nothing of the network or of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training.bundle import Layer, Vectors


@dataclass(frozen=True)
class Item:
    """One image of the gallery."""

    id: str
    label: str
    predicted: str | None
    """The class that the network takes it for; None where no logits are kept to tell by."""


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


class Gallery(Protocol):
    """Images with their vectors at some layers. Safe to use from several threads.

    Every method raises `NotFoundError` for a layer, label or id that the gallery does not have.
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
        label: str | None = None,
        exact: bool = False,
    ) -> list[list[Match]]:
        """The `limit` nearest to each of the queries [N, dimension], best first.

        With `label` only images of that class, and always exactly.
        """

    def get(self, image_id: str) -> Item:
        """The image of that id."""

    def page(
        self,
        limit: int,
        *,
        after: str = "",
        label: str | None = None,
        predicted: str | None = None,
    ) -> Page:
        """Up to `limit` images whose ids come after `after`.

        With `label` only images of that class, with `predicted` only those taken for that one.
        """

    def vectors(self, layer: Layer, ids: Sequence[str]) -> Vectors:
        """The unit vectors of these images at a layer, [N, dimension]."""

    def image(self, image_id: str) -> bytes:
        """The image as a PNG; `NotFoundError` says why where there is none."""

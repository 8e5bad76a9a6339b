"""What a gallery stores and returns: items, matches, filters, additions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from training.bundle import Layer, Vectors

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
class ScoredItem:
    """An image and how like the query it is: their cosine, in [-1, 1]."""

    item: Item
    score: float


@dataclass(frozen=True)
class Page:
    """Some images in the order of their ids, and the cursor to those after them, if any."""

    items: tuple[Item, ...]
    next: str | None


@dataclass(frozen=True)
class Filter:
    """Which images to look among: those for which everything holds that is given here."""

    label: str | None = None
    predicted: str | None = None
    source: Source | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Names and values, as text: "3" is 3 and "3", "true" is true and "true"."""

    def __bool__(self) -> bool:
        """Whether anything is given."""
        return self != MATCH_ALL

    def matches(self, item: Item) -> bool:
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


MATCH_ALL: Final = Filter()


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
class OutdatedImage:
    """An image whose vectors another network made; `revision` changes when the image does."""

    id: str
    revision: int
    png: bytes


@dataclass(frozen=True)
class NewVectors:
    """The vectors of a stale image by the network that serves, and what it takes it for."""

    id: str
    revision: int
    vectors: Mapping[Layer, Vectors]
    predicted: str
    network: str


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

"""Data types of galleries: items, matches, filters, additions, overrides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from service.errors import NotFoundError
from service.gallery.conditions import Attributes, Condition
from training.bundle import Layer, Vectors

Source = Literal["bundle", "added"]
"""Whether an image came with the bundle or was added while serving."""


@dataclass(frozen=True)
class Item:
    """One image of the gallery, without its pixels and vectors."""

    id: str
    label: str
    """Empty if none was given and the network knows no classes."""
    predicted: str | None
    """The class that the network predicts; None if it is not known."""
    label_predicted: bool = False
    """Whether the label is the network's prediction, if it makes one, as none was given."""
    attributes: Attributes = field(default_factory=dict)
    source: Source = "bundle"
    created_at: datetime | None = None
    """When the image was added; None if it came with the bundle."""
    has_image: bool = True
    """Whether the gallery has its pixels."""

    def annotated_as(self, other: "Item | Override") -> "Item":
        """Return this image with the label and attributes of another item."""
        return replace(
            self,
            label=other.label,
            label_predicted=other.label_predicted,
            attributes=other.attributes,
        )


@dataclass(frozen=True)
class ScoredItem:
    """An image and its cosine similarity to the query, in [-1, 1]."""

    item: Item
    score: float


@dataclass(frozen=True)
class Page:
    """Images in the order of their ids, and the cursor to the next page, if any."""

    items: tuple[Item, ...]
    next: str | None


@dataclass(frozen=True)
class Filter:
    """Conditions that an image must meet, all of those that are given."""

    label: str | None = None
    predicted: str | None = None
    source: Source | None = None
    attributes: tuple[Condition, ...] = ()

    def matches(self, item: Item) -> bool:
        """Return whether an image meets all conditions."""
        return (
            self.label in (None, item.label)
            and self.predicted in (None, item.predicted)
            and self.source in (None, item.source)
            and all(condition.matches(item.attributes) for condition in self.attributes)
        )


MATCH_ALL: Final = Filter()


def no_such_label(label: str, classes: Sequence[str]) -> NotFoundError:
    """Return the error of a label that no image has; it names the classes, if there are any."""
    return NotFoundError(
        f"No label {label!r}; available: {', '.join(classes)}."
        if classes
        else f"No image has the label {label!r}."
    )


@dataclass(frozen=True)
class Addition:
    """An image to add, with its vectors [dimension] at each layer, of any length but 0."""

    item: Item
    """Its `source` is "added" and its `created_at` set, unless it comes from a backup."""
    png: bytes | None
    """Lossless, as the network sees it; None only if it comes from a gallery without pixels."""
    vectors: Mapping[Layer, Vectors]
    network: str
    """The `network_id` of the network that made the vectors."""


@dataclass(frozen=True)
class Added:
    """An image of the gallery, and what an addition did to it."""

    item: Item
    outcome: Literal["created", "replaced", "unchanged"]


@dataclass(frozen=True)
class Override:
    """A change to the bundle's image of an id, in every bundle: it is deleted, or edited."""

    id: str
    deleted: bool = False
    label: str = ""
    label_predicted: bool = False
    attributes: Attributes = field(default_factory=dict)

    @classmethod
    def edit(cls, item: Item) -> "Override":
        """Return the override that gives an image this item's label and attributes."""
        return cls(
            item.id,
            label=item.label,
            label_predicted=item.label_predicted,
            attributes=item.attributes,
        )

    def apply(self, item: Item) -> Item | None:
        """Return a bundle's image as edited; None if it is deleted."""
        return None if self.deleted else item.annotated_as(self)


@dataclass(frozen=True)
class OutdatedImage:
    """An image with another network's vectors; `revision` changes whenever the image does."""

    id: str
    revision: int
    png: bytes


@dataclass(frozen=True)
class NewVectors:
    """The vectors and prediction of the serving network for an outdated image."""

    id: str
    revision: int
    vectors: Mapping[Layer, Vectors]
    predicted: str | None
    network: str

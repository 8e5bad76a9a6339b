"""Events: the effect of a change on images, which galleries apply to their snapshots.

Knows items and vectors; nothing of storage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from service.gallery.types import Item
from training.bundle import Fp16Vectors, Layer

T = TypeVar("T")


@dataclass(frozen=True)
class Upserted:
    """An image was added, or has new vectors."""

    number: int
    item: Item
    network: str
    vectors: Mapping[Layer, Fp16Vectors]
    has_pixels: bool = True
    """Whether another network can embed the image again."""


@dataclass(frozen=True)
class Updated:
    """An image has another label or other attributes."""

    item: Item


@dataclass(frozen=True)
class Deleted:
    """An image was removed."""


Event = Upserted | Updated | Deleted
Events = Mapping[str, Event]
"""The last event of each image, by id."""


@dataclass(frozen=True)
class Change(Generic[T]):
    """The result of an operation for its caller, and its events for galleries."""

    result: T
    events: Events


def merge_events(changes: Iterable[Events]) -> Events:
    """Return the events of several changes, made in this order, as those of one."""
    merged: dict[str, Event] = {}
    for events in changes:
        for image_id, event in events.items():
            before = merged.get(image_id)
            if isinstance(before, Upserted) and isinstance(event, Updated):
                merged[image_id] = replace(before, item=event.item)
            else:
                merged[image_id] = event
    return merged

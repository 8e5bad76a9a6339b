"""Converts gallery items to response schemas."""

import re
from typing import Final
from urllib.parse import quote

from service.gallery.types import Item, ScoredItem
from service.schemas.base import DECIMALS, Fields
from service.schemas.gallery import GalleryItem

_NEEDS_NO_QUOTING: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def image_path(image_id: str) -> str:
    """Return the URL path of a gallery image's pixels."""
    name = image_id if _NEEDS_NO_QUOTING.fullmatch(image_id) else quote(image_id, safe="")
    return f"/gallery/{name}/image"


def gallery_item(item: Item) -> GalleryItem:
    """Convert an item to its schema."""
    return GalleryItem(
        id=item.id,
        label=item.label,
        label_predicted=item.label_predicted,
        predicted=item.predicted,
        attributes=dict(item.attributes),
        source=item.source,
        created_at=item.created_at,
        image=image_path(item.id),
    )


def neighbour(match: ScoredItem) -> Fields:
    """Return the fields of a `Neighbour`."""
    item = match.item
    fields: Fields = {
        "id": item.id,
        "label": item.label,
        "score": round(match.score, DECIMALS),
        "image": image_path(item.id),
    }
    if item.attributes:
        fields["attributes"] = dict(item.attributes)
    return fields

"""Converts gallery items to response schemas."""

from service.gallery.types import Item, ScoredItem
from service.retrieval.links import links
from service.schemas.base import DECIMALS, Fields
from service.schemas.gallery import GalleryItem


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
        image=links.get().to_image(item.id),
    )


def neighbour(match: ScoredItem) -> Fields:
    """Return the fields of a `Neighbour`."""
    item = match.item
    fields: Fields = {
        "id": item.id,
        "label": item.label,
        "score": round(match.score, DECIMALS),
        "image": links.get().to_image(item.id),
    }
    if item.attributes:
        fields["attributes"] = dict(item.attributes)
    return fields

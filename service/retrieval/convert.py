"""Converts gallery items to response schemas."""

from service.gallery.types import Item, ScoredItem
from service.retrieval.links import links
from service.schemas.base import DECIMALS, Fields
from service.schemas.gallery import GalleryItem


def gallery_item(item: Item) -> GalleryItem:
    """Convert an item to its schema."""
    return GalleryItem(
        id=item.id,
        label=item.label or None,
        label_predicted=item.label_predicted and bool(item.label),
        predicted=item.predicted,
        attributes=dict(item.attributes),
        source=item.source,
        created_at=item.created_at,
        image=links.get().to_image(item.id) if item.has_image else None,
        reconstruction=links.get().to_reconstruction(item.id),
    )


def neighbour(match: ScoredItem) -> Fields:
    """Return the fields of a `Neighbour`."""
    item, to = match.item, links.get()
    fields: Fields = {
        "id": item.id,
        "label": item.label or None,
        "score": round(match.score, DECIMALS),
        "image": to.to_image(item.id) if item.has_image else None,
    }
    if to.draws:
        fields["reconstruction"] = to.to_reconstruction(item.id)
    if item.attributes:
        fields["attributes"] = dict(item.attributes)
    return fields

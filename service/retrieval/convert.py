"""Converts gallery items to response schemas."""

from urllib.parse import quote

from service.gallery.types import Item, ScoredItem
from service.schemas.gallery import GalleryItem
from service.schemas.images import Neighbour


def image_path(image_id: str) -> str:
    """Return the URL path of a gallery image's pixels."""
    return f"/gallery/{quote(image_id, safe='')}/image"


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


def neighbour(
    match: ScoredItem, *, heat: list[list[float]] | None = None, terms: list[float] | None = None
) -> Neighbour:
    """Convert a match to its schema; `heat` and `terms` are its attribution, if computed."""
    return Neighbour(
        id=match.item.id,
        label=match.item.label,
        score=match.score,
        image=image_path(match.item.id),
        attributes=dict(match.item.attributes) or None,
        heat=None if heat is None else tuple(map(tuple, heat)),
        terms=None if terms is None else tuple(terms),
    )

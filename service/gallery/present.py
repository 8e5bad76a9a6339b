"""Images that may go while they are looked at, for a home that has no snapshots.

Knows the protocol; nothing of homes.
"""

from collections.abc import Sequence
from contextlib import suppress

from service.errors import NotEmbeddedError, NotFoundError
from service.gallery import View
from training.bundle import Layer, Vectors


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

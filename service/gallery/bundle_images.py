"""The images of a bundle, as a gallery reads them; compares items and pixels."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from service.errors import ConflictError, MalformedBodyError, NoPixelsError
from service.gallery.conditions import Attributes
from service.gallery.segment import OF_BUNDLE, Segment
from service.gallery.types import Added, Item
from service.images import decode, encode
from training.bundle import Bundle, Gallery, Pixels


class BundleImages:
    """The images of a bundle, before any change."""

    def __init__(self, bundle: Bundle) -> None:
        self.classes = classes = bundle.manifest.classes
        self._gallery = gallery = bundle.gallery
        items = tuple(
            Item(
                image_id,
                classes[label] if classes else "",
                predicted,
                attributes=attributes,
                has_image=gallery.pixels is not None,
            )
            for image_id, label, predicted, attributes in zip(
                gallery.ids, gallery.labels, _predicted(bundle), _attributes(gallery), strict=True
            )
        )
        self.segment = Segment(items, np.full(len(items), OF_BUNDLE), bundle.indexes)

    def get(self, image_id: str) -> Item | None:
        """Return the image of that id, if it came with the bundle."""
        row = self.segment.rows.get(image_id)
        return None if row is None else self.segment.items[row]

    def image(self, image_id: str) -> bytes:
        """Return an image of the bundle as a PNG.

        Raises:
            NoPixelsError: the bundle has no pixels.

        """
        if self._gallery.pixels is None:
            raise NoPixelsError(
                "This gallery has vectors and labels but no pixels, as its images may not be "
                "redistributed. Build a bundle from your own copy of them to get pixels."
            )
        return encode(np.asarray(self._gallery.pixels[self._gallery.positions[image_id]]))

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of an image of the bundle as a JPEG, if it has one."""
        return self._gallery.thumbnail(image_id)


def _attributes(gallery: Gallery) -> Sequence[Attributes]:
    """Return the attributes of each image: of own images, their file, and their split if any."""
    if gallery.files is None:
        return [{}] * len(gallery)
    if gallery.parts is None:
        return [{"file": file} for file in gallery.files]
    return [
        {"file": file, "split": part}
        for file, part in zip(gallery.files, gallery.parts, strict=True)
    ]


def _predicted(bundle: Bundle) -> Sequence[str | None]:
    """Return the predicted class of each image; a unit vector keeps the largest logit."""
    if bundle.spec.classes is None:
        return [None] * len(bundle.gallery)
    logits = bundle.indexes[bundle.spec.classes]
    largest = logits.reconstruct(range(len(logits))).argmax(1)
    return [bundle.manifest.classes[index] for index in largest]


def outcome_of(
    item: Item, before: Item | None, *, same_pixels: bool, replace: bool
) -> Added | ConflictError:
    """Return what the addition of an item does, or why it is refused.

    Args:
        item: the image to add.
        before: the image that has its id now, if there is one.
        same_pixels: whether both have the same pixels.
        replace: whether another image may be overwritten.

    """
    if before is None:
        return Added(item, "created")
    if same_pixels and (not replace or before == before.annotated_as(item)):
        return Added(before, "unchanged")
    if not replace:
        return ConflictError(
            f"Another image has the id {item.id!r}: use another id, or replace that image with PUT."
        )
    return Added(item, "replaced")


def same_pixels(one: bytes | None, other: bytes | None) -> bool:
    """Return whether two PNGs have the same pixels, however they are compressed."""
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    pixels = _pixels(one)
    return pixels is not None and np.array_equal(pixels, np.asarray(_pixels(other)))


def shows(file: bytes, pixels: Pixels) -> bool:
    """Return whether a stored file, posted as an image, becomes these pixels."""
    try:
        return np.array_equal(decode(Image.open(BytesIO(file)), len(pixels)), pixels)
    except (OSError, SyntaxError, ValueError, MalformedBodyError):  # it is damaged
        return False


def _pixels(png: bytes) -> Pixels | None:
    """Decode a stored image; None if it is damaged, and so differs from all others."""
    try:
        return np.asarray(Image.open(BytesIO(png)))
    except (OSError, SyntaxError, ValueError):  # those that Pillow raises
        return None

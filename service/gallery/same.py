"""Whether an image is the one that is there already. Knows items and pixels; nothing of homes."""

from io import BytesIO

import numpy as np
from PIL import Image

from service.gallery import Item
from training.bundle import Pixels


def says_the_same(one: Item, other: Item) -> bool:
    """Whether people would say the same of both."""
    return (one.label, one.label_predicted, dict(one.attributes)) == (
        other.label,
        other.label_predicted,
        dict(other.attributes),
    )


def same_pixels(one: bytes | None, other: bytes | None) -> bool:
    """Whether two PNGs show the same, however they are packed."""
    if one is None or other is None:
        return one is other
    return one == other or np.array_equal(_pixels(one), _pixels(other))


def _pixels(png: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(png)))

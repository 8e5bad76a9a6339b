"""Preprocessing of any image to the network's input: RGB, 32 x 32, uint8.

Pure functions on Pillow images, used by training and serving, so that the two cannot differ. Must
not know files, limits or HTTP.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SIZE = 32
"""Side of the network's input, in pixels."""

Pixels = npt.NDArray[np.uint8]
Fit = Literal["crop", "pad", "stretch"]

MIN_DRAFT_SIDE = 8 * SIZE

_WHITE = (255, 255, 255)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode that Pillow reads to upright RGB.

    - The EXIF orientation is applied, unless it is damaged.
    - Transparent pixels are blended with white.
    - 16-bit greyscale keeps its high byte.
    - Floating-point greyscale is read as [0, 1] if no value is larger, and as [0, 255] otherwise.
    """
    image = _upright(image)
    if image.mode in _SIXTEEN_BIT:
        transparent = image.info.get("transparency")
        levels = np.asarray(image)
        image = Image.fromarray(np.clip(levels >> 8, 0, 255).astype(np.uint8))
        if isinstance(transparent, int):  # one of the 65,536 levels
            image.putalpha(
                Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8))
            )
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        image = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*_WHITE, 255))
        return Image.alpha_composite(background, layer).convert("RGB")
    return image.convert("RGB")


def reduce_jpeg(image: Image.Image, size: int = SIZE) -> None:
    """Let the JPEG decoder reduce a large image, but to no less than twice the input's side.

    Below `MIN_DRAFT_SIDE` it never reduces: the resize that follows is more exact.
    """
    side = max(MIN_DRAFT_SIDE, 2 * size)
    image.draft(None, (side, side))


def to_pixels(image: Image.Image, fit: Fit = "crop", size: int = SIZE) -> Pixels:
    """Convert an image to `size` x `size` RGB, uint8 [size, size, 3].

    `crop` keeps the centre square, `pad` adds white bars, `stretch` changes the
    proportions. Resizing is bicubic with antialiasing. An image of that size is not resampled.
    """
    image = to_rgb(image)
    if image.size != (size, size):
        target = (size, size)
        match fit:
            case "crop":
                image = ImageOps.fit(image, target, Image.Resampling.BICUBIC)
            case "pad":
                image = ImageOps.pad(image, target, Image.Resampling.BICUBIC, color=_WHITE)
            case "stretch":
                image = image.resize(target, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. Damaged EXIF data is ignored."""
    image.load()  # raises if the image itself is damaged
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's EXIF parser may raise any exception
        return image

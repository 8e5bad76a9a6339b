"""Preprocessing of any image to the network's input: RGB, 32 x 32, uint8.

Pure functions on Pillow images, used by training and serving, so that the two cannot differ. Must
not know files, limits or HTTP.
"""

from contextlib import suppress
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps

SIZE = 32
"""Side of the network's input, in pixels."""

Pixels = npt.NDArray[np.uint8]
Fit = Literal["crop", "pad", "stretch"]
Box = tuple[float, float, float, float]

MIN_DRAFT_SIDE = 8 * SIZE
STRIP_PIXELS: Final = 2**20
"""Pixels that are converted to RGB at a time: a conversion takes up to 20 bytes a pixel."""

_WHITE = (255, 255, 255)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY_STEPS: Final = {"L;2": 85, "L;4": 17}
"""The factor from a level of a PNG's 2 or 4 bits to one of 8 bits."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode that Pillow reads to upright RGB.

    - The EXIF orientation is applied, unless it is damaged.
    - Transparent pixels are blended with white.
    - 16-bit greyscale keeps its high byte.
    - Floating-point greyscale is read as [0, 1] if no value is larger, and as [0, 255] otherwise.
    """
    return _convert(_upright(image))


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
    image = _upright(image)
    width, height = image.size
    if image.size == (size, size):
        return np.asarray(_convert(image))
    match fit:
        case "crop":
            side = min(width, height)
            left, upper = (width - side) / 2, (height - side) / 2
            box = (left, upper, left + side, upper + side)
            return np.asarray(_resize(image, (size, size), box))
        case "pad":
            longest = max(width, height)
            # At least one pixel remains of the thinnest image.
            inner = (max(1, round(width / longest * size)), max(1, round(height / longest * size)))
            padded = Image.new("RGB", (size, size), _WHITE)
            corner = (round((size - inner[0]) / 2), round((size - inner[1]) / 2))
            padded.paste(_resize(image, inner, (0, 0, width, height)), corner)
            return np.asarray(padded)
        case "stretch":
            return np.asarray(_resize(image, (size, size), (0, 0, width, height)))


def _resize(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Convert a part of an upright image to RGB of another size.

    A large image is converted and narrowed in strips, then made lower. Pillow may take the other
    order, with a difference in rounding.
    """
    if image.width * image.height <= STRIP_PIXELS or image.mode == "F":  # "F" has one scale
        return _convert(image).resize(size, Image.Resampling.BICUBIC, box)
    left, upper, right, lower = box
    narrow = Image.new("RGB", (size[0], image.height))
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = _convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        part = (left, 0, right, strip.height)
        narrow.paste(
            strip.resize((size[0], strip.height), Image.Resampling.BICUBIC, part), (0, top)
        )
    return narrow.resize(size, Image.Resampling.BICUBIC, (0, upper, size[0], lower))


def _convert(image: Image.Image) -> Image.Image:
    """Convert an upright image to RGB."""
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


def _upright(image: Image.Image) -> Image.Image:
    """Decode an image and apply the EXIF orientation. Damaged EXIF data is ignored."""
    if isinstance(image, ImageFile.ImageFile) and image.format == "PNG" and image.tile:
        image = _with_colour_key(image)
    image.load()  # raises if the image itself is damaged
    with suppress(Exception):  # Pillow's EXIF parser may raise any exception
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _with_colour_key(image: ImageFile.ImageFile) -> Image.Image:
    """Return a PNG with its transparent colour as Pillow expects it.

    Pillow compares it with levels of 8 bits, even if the file has more or fewer.
    """
    key, stored = image.info.get("transparency"), image.tile[0].args
    if isinstance(key, int) and stored in _GREY_STEPS:
        image.info["transparency"] = key * _GREY_STEPS[stored]
    elif isinstance(key, tuple) and stored == "RGB;16B":
        return _with_key_of_16_bits(image, key)
    return image


def _with_key_of_16_bits(image: ImageFile.ImageFile, key: tuple[int, ...]) -> Image.Image:
    """Decode an RGB image of 16 bits twice, as Pillow keeps one byte of each level at a time."""
    assert image.fp is not None  # noqa: S101  it is not decoded yet
    image.fp.seek(0)
    low = Image.open(image.fp, formats=("PNG",))
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
    del image.info["transparency"], low.info["transparency"]
    matches = _equals(low, [level & 255 for level in key])
    matches &= _equals(image, [level >> 8 for level in key])
    image.putalpha(Image.fromarray(np.where(matches, 0, 255).astype(np.uint8)))
    return image


def _equals(image: Image.Image, colour: list[int]) -> npt.NDArray[np.bool_]:
    """Return which pixels of an RGB image have a colour, [height, width]."""
    equal: npt.NDArray[np.bool_] = (np.asarray(image) == colour).all(2)
    return equal

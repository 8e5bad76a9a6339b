"""Encodes images as files, so that the service sees in them what training would.

Knows Pillow; nothing of requests. NumPy is optional: arrays are recognized without it.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.uint8]
else:
    Array = Any

Picture = str | Path | bytes | Image.Image | Array
"""An image: path, bytes of a file, Pillow image, or pixels uint8 [H, W] or [H, W, 3 or 4]."""

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_SIXTEEN_BIT = ("I", "I;16L", "I;16B", "I;16N")


def encode(picture: Picture) -> bytes:
    """Return an image as the bytes of a file. A file is returned unchanged, the rest as PNG.

    Raises:
        TypeError: pixels are not uint8.
        OSError: the file cannot be read.

    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | Path):
        return Path(picture).expanduser().read_bytes()
    if not isinstance(picture, Image.Image):
        if picture.dtype != "uint8":
            raise TypeError(f"pixels must be uint8, not {picture.dtype}: convert them to 0 to 255")
        picture = Image.fromarray(picture)
    stream = io.BytesIO()
    _for_png(_upright(picture)).save(stream, format="PNG")
    return stream.getvalue()


def decode(content: bytes) -> Image.Image:
    """Decode the bytes of an image file."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, which a PNG does not have. Damaged EXIF data is ignored."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's EXIF parser may raise any exception
        return image


def _for_png(image: Image.Image) -> Image.Image:
    """Convert an image to a mode of PNG, as training converts it to RGB."""
    if image.mode in _PNG_MODES:
        return image
    if image.mode in _SIXTEEN_BIT:  # of 16 bits, the high byte counts
        return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    if image.mode == "F":  # from 0 to 1 if no value is larger, else from 0 to 255
        _, largest = image.getextrema()
        scale = 255.0 if float(largest) <= 1.0 else 1.0  # type: ignore[arg-type]
        return image.point(lambda value: value * scale).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")

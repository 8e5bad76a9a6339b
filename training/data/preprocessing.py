"""How any picture becomes the network's input: RGB, square, 32 x 32, uint8.

Pure functions on Pillow images. Training and serving both come through here, so that they cannot
disagree. Knows nothing of files, limits or HTTP.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SIZE = 32
"""Side of the network's input, in pixels."""

Pixels = npt.NDArray[np.uint8]
Fit = Literal["crop", "pad", "stretch"]

_WHITE = (255, 255, 255)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any mode that Pillow reads into upright RGB.

    Orientation follows EXIF, where that can be read; what is transparent lies over white; 16-bit
    greyscale keeps its high byte; floating-point greyscale is taken as [0, 1] when it fits there,
    else as [0, 255].
    """
    image = _upright(image)
    if image.mode in _SIXTEEN_BIT:
        clear = image.info.get("transparency")
        levels = np.asarray(image)
        image = Image.fromarray(np.clip(levels >> 8, 0, 255).astype(np.uint8))
        if isinstance(clear, int):  # the level that is transparent, of all 65,536
            image.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
    elif image.mode == "F":
        parts = np.nan_to_num(np.asarray(image))
        scale = 255.0 if parts.max(initial=0.0) <= 1.0 else 1.0
        image = Image.fromarray(np.clip(parts * scale, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*_WHITE, 255))
        return Image.alpha_composite(background, layer).convert("RGB")
    return image.convert("RGB")


def to_pixels(image: Image.Image, fit: Fit = "crop", size: int = SIZE) -> Pixels:
    """Bring a picture to `size` x `size` RGB, uint8 [size, size, 3].

    `crop` keeps the centre square, `pad` keeps all of it between white bars, `stretch` ignores the
    proportions. Resizing is bicubic with antialiasing; a picture already of that size is untouched.
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
    """As its EXIF says; notes that are damaged do not damage the picture beside them."""
    image.load()  # where the picture itself is damaged, this says so
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parser of them raises whatever it trips over
        return image

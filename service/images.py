"""Bytes to the network's input, uint8 [32, 32, 3], or a refusal that says why.

Hostile bytes are expected: whatever they make Pillow do ends as 400, 413 or 415. Knows nothing of
requests or of the network.
"""

from io import BytesIO

from PIL import Image, UnidentifiedImageError

from service.errors import MalformedBodyError, NotAnImageError, TooLargeError
from training.bundle import SIZE, Fit, Pixels, to_pixels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")

DRAFT_SIDE = 8 * SIZE
"""A JPEG may be decoded smaller than it is, but not below this: the rest is resized with care."""
SMALL_BYTES = 16 * 1024
SMALL_PIXELS = 128 * 128
EXAMPLE = "R0lGODdhAQABAIEAAMh4KAAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="
"""One orange pixel, a GIF in base64, for the documentation."""


def load_plugins() -> None:
    """Have Pillow load its decoders now rather than at the first picture."""
    Image.init()


def read_header(data: bytes, max_pixels: int) -> Image.Image:
    """Identify a picture and check its size, before a pixel is decoded.

    Raises:
        MalformedBodyError: no bytes, or a damaged header.
        NotAnImageError: not one of `FORMATS`.
        TooLargeError: more than `max_pixels`.

    """
    if not data:
        raise MalformedBodyError("The picture is empty: there are no bytes.")
    too_large = TooLargeError(f"The picture has more than {max_pixels:,} pixels.")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise NotAnImageError(f"This is not a picture in {formats}.") from error
    except Image.DecompressionBombError as error:
        raise too_large from error
    except Exception as error:  # Pillow's parsers raise whatever they trip over
        raise MalformedBodyError(f"The picture's header is damaged: {error}.") from error
    if image.width * image.height > max_pixels:
        raise too_large
    return image


def decode(image: Image.Image, fit: Fit = "crop") -> Pixels:
    """The first frame as the network's input, uint8 [32, 32, 3].

    Raises:
        MalformedBodyError: the picture is truncated or damaged.

    """
    try:
        image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
        return to_pixels(image, fit)
    except Exception as error:  # Pillow's decoders raise whatever they trip over
        raise MalformedBodyError(f"The picture is damaged or truncated: {error}.") from error


def encode(pixels: Pixels) -> bytes:
    """Pixels uint8 [H, W, 3] as a PNG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

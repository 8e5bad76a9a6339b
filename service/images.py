"""Decodes image files to the network's input, uint8 [side, side, 3].

Files are untrusted: any error of Pillow becomes one of three typed errors. Small plain PNGs are
decoded by imagecodecs in less than half of Pillow's time. Knows nothing of requests or of the
network.
"""

import logging
import struct
from io import BytesIO
from typing import Final

from imagecodecs import PngError, png_decode
from PIL import Image

from service.errors import MalformedBodyError, NotAnImageError, TooLargeError
from training.bundle import (
    Fit,
    FormatError,
    Pixels,
    describe_error,
    open_image,
    reduce_jpeg,
    to_pixels,
)

SMALL_BYTES = 16 * 1024
SMALL_PIXELS = 128 * 128
"""Limits up to which an image is decoded faster than it is handed to a thread."""
_PNG_START: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PLAIN_FORMAT: Final = b"\x08\x02\0\0\0"
"""The end of a PNG header: 8 bits a channel, RGB, not interlaced."""
_PLAIN_CHUNKS: Final = frozenset(
    {b"IDAT", b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB", b"tIME"}
)
"""Chunks that do not change how Pillow shows an image."""
EXAMPLE = "R0lGODdhAQABAIEAAMh4KAAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="
"""An orange GIF of one pixel as base64, for examples in the OpenAPI document."""


def load_plugins() -> None:
    """Load Pillow's decoders now rather than at the first image."""
    Image.init()
    # It warns of damaged files, with which clients could fill the log.
    logging.getLogger("imagecodecs").setLevel(logging.ERROR)


def decode_plain_png(data: bytes, side: int, fit: Fit = "crop") -> Pixels | None:
    """Decode a small PNG of RGB at 8 bits, as `decode` would; return None for any other file.

    A damaged file is left to Pillow, which accepts more of them and says what is wrong.
    """
    if not _is_plain_png(data):
        return None
    try:
        pixels: Pixels = png_decode(data)
    except PngError:
        return None
    if pixels.shape == (side, side, 3):
        return pixels
    return to_pixels(Image.fromarray(pixels), fit, side)


def _is_plain_png(data: bytes) -> bool:
    """Return whether a file is a small RGB PNG whose chunks change nothing but its pixels."""
    if data[:16] != _PNG_START or data[24:29] != _PLAIN_FORMAT:
        return False
    width, height = struct.unpack_from(">II", data, 16)
    if not 0 < width * height <= SMALL_PIXELS:
        return False
    position = 33  # after the header
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            return True
        if kind not in _PLAIN_CHUNKS:
            return False
        position += length + 12
    return False


def read_header(data: bytes, max_pixels: int) -> Image.Image:
    """Identify an image and check its size, without decoding its pixels.

    Raises:
        MalformedBodyError: the file is empty, or its header is damaged.
        NotAnImageError: the file is in no format that is read.
        TooLargeError: the image has more than `max_pixels` pixels.

    """
    if not data:
        raise MalformedBodyError("The image is empty: send the bytes of an image file.")
    too_large = TooLargeError(f"The image has more than {max_pixels:,} pixels: send a smaller one.")
    try:
        image = open_image(data)
    except FormatError as error:
        raise NotAnImageError(f"This is {error}.") from error
    except Image.DecompressionBombError as error:
        raise too_large from error
    except Exception as error:  # Pillow's parsers raise many kinds of errors
        raise MalformedBodyError(
            f"The header of the image is damaged: {describe_error(error)}."
        ) from error
    if image.width * image.height > max_pixels:
        raise too_large
    return image


def pixels_to_decode(image: Image.Image, side: int) -> int:
    """Let a JPEG be decoded smaller; return how many pixels will be in memory at the same time."""
    whole = image.width * image.height
    reduce_jpeg(image, side)
    return whole if image.info.get("progressive") else image.width * image.height


def decode(image: Image.Image, side: int, fit: Fit = "crop") -> Pixels:
    """Decode the first frame to the network's input, uint8 [side, side, 3].

    Raises:
        MalformedBodyError: the image is truncated or damaged.

    """
    try:
        reduce_jpeg(image, side)
        return to_pixels(image, fit, side)
    except Exception as error:  # Pillow's decoders raise many kinds of errors
        raise MalformedBodyError(
            f"The image is damaged or truncated: {describe_error(error)}."
        ) from error


def encode(pixels: Pixels) -> bytes:
    """Encode pixels, uint8 [H, W, 3], as a PNG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

"""The image formats that training and serving read, and how an image file is opened.

Must not know where files come from.
"""

import re
from io import BytesIO
from types import MappingProxyType
from typing import Final

from PIL import Image, PngImagePlugin, UnidentifiedImageError

MEDIA_TYPES: Final = MappingProxyType(
    {
        "PNG": "image/png",
        "JPEG": "image/jpeg",  # and MPO, the format of phones that store several JPEGs in a file
        "WEBP": "image/webp",
        "GIF": "image/gif",
        "BMP": "image/bmp",
        "TIFF": "image/tiff",
        "AVIF": "image/avif",
        "PPM": "image/x-portable-anymap",
    }
)
"""Pillow's name of each format that is read, with its media type."""
FORMATS: Final = tuple(MEDIA_TYPES)
SUFFIXES: Final = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp"),
        *(".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Suffixes of files in these formats."""
OTHER_SUFFIXES: Final = frozenset(
    {".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".ico", ".dng", ".cr2", ".nef", ".arw"}
)
"""Suffixes of images in other formats: such a file is named, not silently skipped."""

_TEXT: Final = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


class _PngStream(PngImagePlugin.PngStream):
    """Skips texts and colour profiles that Pillow finds too large, instead of failing."""

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        try:
            return super().call(cid, pos, length)
        except ValueError:
            if cid not in _TEXT or self.fp is None:
                raise
            self.fp.seek(pos)
            return self.fp.read(length)


PngImagePlugin.PngStream = _PngStream  # type: ignore[misc]


class FormatError(ValueError):
    """The file is not an image in one of `FORMATS`."""


def open_image(data: bytes) -> Image.Image:
    """Identify an image without decoding its pixels.

    Raises:
        FormatError: the file is in none of `FORMATS`.
        Exception: the header is damaged; Pillow's parsers raise many kinds of errors.

    """
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise FormatError(f"not an image in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from error


def describe_error(error: Exception) -> str:
    """Return the text of an error without addresses of objects in memory."""
    text = re.sub(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>", "", str(error)).strip()
    return text or type(error).__name__

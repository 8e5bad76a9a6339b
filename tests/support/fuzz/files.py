"""Image files that are almost right: damaged, cut off, of odd modes and sizes."""

from functools import cache
from io import BytesIO
from random import Random
from typing import Final

from PIL import Image

from tests.support.fuzz.bodies import UPLOADS, flipped, with_body
from tests.support.fuzz.request import Request

SIZES: Final = ((1, 1), (1, 300), (32, 32), (40, 30), (257, 3))
WRITTEN: Final = (
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("GIF", mode) for mode in ("L", "P")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("TIFF", mode) for mode in ("1", "L", "RGB", "CMYK", "F", "I;16", "LAB")),
    *(("PPM", mode) for mode in ("1", "L", "RGB")),
    ("TGA", "RGB"),
)
TYPES: Final = (b"image/png", b"image/jpeg", b"application/octet-stream", b"image/x", b"text/html")


@cache
def image(kind: str, mode: str, size: tuple[int, int]) -> bytes:
    """Return a gradient as a file of a format and mode."""
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, kind)
    return file.getvalue()


def image_request(random: Random) -> Request:
    """Return an upload of a file, most of them damaged."""
    method, template = random.choice(UPLOADS)
    data = image(*random.choice(WRITTEN), random.choice(SIZES))
    action = random.randrange(6)
    if action == 0:
        data = data[: random.randrange(len(data) + 1)]
    elif action == 1:
        data = data[:40].translate(None, bytes([random.randrange(256)])) + data[40:]
    elif action in (2, 3):
        data = flipped(random, data[:100]) + data[100:]  # the header is there
    elif action == 4:
        data = flipped(random, data)
    if random.random() < 0.05:
        data += bytes(random.randrange(100_000))
    return with_body(random, method, template, data, random.choice(TYPES))

"""Decoding: every format and colour mode becomes RGB; other files are refused with a reason."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import KindredError, MalformedBodyError, NotAnImageError, TooLargeError
from service.images import decode, decode_plain_png, encode, read_header
from tests.support.fakes import file_of, flat, png
from tests.support.images import striped_image
from training.bundle import Fit, Pixels
from training.data.formats import FORMATS

ORANGE = (200, 120, 40)
LIMIT = 1_000_000


def pixels_of(data: bytes, fit: Fit = "crop") -> Pixels:
    return decode(read_header(data, LIMIT), 32, fit)


def orange(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (48, 48), ORANGE).convert(mode)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((48, 48), 120 << 8, np.uint16))


def transparent() -> Image.Image:
    return Image.new("RGBA", (48, 48), (*ORANGE, 0))


def rotated() -> bytes:
    """Return white above black, stored rotated with an EXIF orientation."""
    pixels = np.concatenate([np.full((32, 16, 3), 255), np.zeros((32, 16, 3))], axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    return file_of(Image.fromarray(pixels.astype(np.uint8)), "PNG", exif=exif)


def handmade(
    width: int, height: int, depth: int, colours: int, raw: bytes, clear: bytes = b""
) -> bytes:
    """Return a PNG that Pillow cannot write; `colours` is the colour type, `clear` the tRNS."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sealed = name + data
        return struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    start = b"\x89PNG\r\n\x1a\n" + header + (chunk(b"tRNS", clear) if clear else b"")
    return start + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """Return a small PNG whose header declares 10^9 pixels."""
    return handmade(50_000, 20_000, 8, 2, b"\0" * 1000)


@pytest.mark.parametrize(
    ("colours", "pixel", "clear", "expected"),
    [
        (2, [200, 120, 40], b"", ORANGE),
        (6, [200, 120, 40, 255], b"", ORANGE),
        (6, [200, 120, 40, 0], b"", (255, 255, 255)),
        (0, [120], b"", (120, 120, 120)),
        (0, [120], struct.pack(">H", 120 << 8), (255, 255, 255)),
        (0, [120], struct.pack(">H", 121 << 8), (120, 120, 120)),
    ],
    ids=["rgb", "rgba", "transparent", "grey", "transparent grey", "another grey"],
)
def test_sixteen_bits_per_channel_become_eight(
    colours: int, pixel: list[int], clear: bytes, expected: tuple[int, int, int]
) -> None:
    row = b"\0" + struct.pack(f">{len(pixel)}H", *(level << 8 for level in pixel)) * 32
    pixels = pixels_of(handmade(32, 32, 16, colours, row * 32, clear))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("key", [0, 1, 2, 3, 9, 15])
def test_a_transparent_level_of_few_bits_becomes_white(depth: int, key: int) -> None:
    """All levels side by side; one of them is transparent."""
    levels = [n % 2**depth for n in range(32)]
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8)
    pixels = pixels_of(handmade(32, 32, depth, 0, row * 32, struct.pack(">H", key)))
    shown = [255 if level == key else level * 255 // (2**depth - 1) for level in levels]
    assert pixels[0, :, 0].tolist() == shown


@pytest.mark.parametrize("size", [32, 96])
def test_a_transparent_colour_of_16_bits_becomes_white(size: int) -> None:
    """Its neighbours, which differ in the lower byte, do not."""
    colours = [(0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD), (0x1235, 0x5678, 0x9ABC)]
    row = b"\0" + b"".join(struct.pack(">3H", *colours[x * 3 // size]) for x in range(size))
    pixels = pixels_of(handmade(size, size, 16, 2, row * size, struct.pack(">3H", *colours[0])))
    assert (pixels[:, 2] == 255).all()
    for column in (16, 28):
        assert pixels[16, column].tolist() == [0x12, 0x56, 0x9A]


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("after", [False, True])
def test_texts_and_profiles_of_any_size_are_skipped(name: bytes, after: bool) -> None:
    text = b"x" * 4_000_000
    packed = zlib.compress(text)
    data = {
        b"iCCP": b"profile\0\0" + packed,
        b"zTXt": b"text\0\0" + packed,
        b"iTXt": b"text\0\1\0\0\0" + packed,
        b"tEXt": b"text\0" + text,
    }[name]
    sealed = name + data
    chunk = struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))
    image = png(striped_image(1, 1))
    position = image.index(b"IEND") - 4 if after else 33
    assert (pixels_of(image[:position] + chunk * 3 + image[position:]) == striped_image(1, 1)).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_bytes_after_the_image_of_a_polyglot_file_are_ignored(kind: str) -> None:
    """Bytes after the image are never parsed, stored or returned."""
    image = file_of(orange(), kind)
    appended = b"PK\x03\x04 <script>alert(1)</script>"
    assert (pixels_of(image + appended) == pixels_of(image)).all()
    with pytest.raises(NotAnImageError):
        pixels_of(appended + image)


def test_an_image_of_32_by_32_pixels_is_unchanged() -> None:
    assert (pixels_of(png(striped_image(1, 1))) == striped_image(1, 1)).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded(kind: str) -> None:
    assert np.abs(pixels_of(file_of(orange(), kind)).astype(int) - ORANGE).max() < 8


@pytest.mark.parametrize(
    ("make", "kind", "expected"),
    [
        (lambda: orange("L"), "PNG", (135, 135, 135)),
        (lambda: orange("1"), "PNG", None),
        (lambda: orange("P"), "PNG", ORANGE),
        (lambda: orange("RGBA"), "PNG", ORANGE),
        (lambda: orange("CMYK"), "JPEG", ORANGE),
        (sixteen_bit, "PNG", (120, 120, 120)),
        (transparent, "PNG", (255, 255, 255)),
    ],
    ids=["grey", "bitmap", "palette", "alpha", "cmyk", "16-bit", "transparent over white"],
)
def test_every_colour_mode_is_converted_to_rgb(
    make: Callable[[], Image.Image], kind: str, expected: tuple[int, int, int] | None
) -> None:
    pixels = pixels_of(file_of(make(), kind))
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    if expected:
        assert np.abs(pixels.reshape(-1, 3).mean(0) - expected).max() < 8


def test_the_exif_orientation_is_applied() -> None:
    pixels = pixels_of(rotated())
    assert pixels[:8].mean() > 200
    assert pixels[-8:].mean() < 50


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("metadata", [b"junk", b"II*\0", b"II*\0\x08\0\0\0\xff\xff\x12\1"])
def test_damaged_exif_metadata_is_ignored(kind: str, metadata: bytes) -> None:
    pixels = pixels_of(file_of(orange(), kind, exif=b"Exif\0\0" + metadata))
    assert np.abs(pixels.astype(int) - ORANGE).max() < 8


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.fromarray(flat(shade)) for shade in (250, 0, 0)]
    animated = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels_of(animated).mean() > 240


@pytest.mark.parametrize(("fit", "edge"), [("crop", 0), ("pad", 255), ("stretch", 0)])
def test_a_wide_image_is_cropped_padded_or_stretched(fit: Fit, edge: int) -> None:
    wide = png(np.zeros((40, 80, 3), np.uint8))
    assert (pixels_of(wide, fit)[0] == edge).all()


def test_decoding_a_large_jpeg_at_a_smaller_size_changes_little() -> None:
    big = Image.fromarray(striped_image(2, 2)).resize((1000, 1000), Image.Resampling.BICUBIC)
    difference = pixels_of(file_of(big, "JPEG", quality=95)).astype(int) - pixels_of(file_of(big))
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedBodyError),
        (b"<html>", NotAnImageError),
        (b"%PDF-1.7", NotAnImageError),
        (file_of(orange(), "ICO"), NotAnImageError),
        (file_of(orange(), "PCX"), NotAnImageError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NotAnImageError),
        (png(striped_image(0, 0))[:-900], MalformedBodyError),
        (file_of(Image.fromarray(striped_image(0, 0)), "JPEG")[:500], MalformedBodyError),
        (bomb(), TooLargeError),
        (png(np.zeros((1001, 1000, 3), np.uint8)), TooLargeError),
    ],
    ids=[
        "empty",
        "html",
        "pdf",
        "ico",
        "pcx",
        "svg",
        "truncated png",
        "truncated jpeg",
        "bomb",
        "one row too many",
    ],
)
def test_a_file_that_is_not_an_image_is_refused_with_a_reason(
    data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"^The image|^The header|^This is not"):
        pixels_of(data)


@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_file_is_decoded_or_refused(kind: str, data: st.DataObject) -> None:
    whole = bytearray(file_of(Image.fromarray(striped_image(4, 4)), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        assert pixels_of(bytes(whole[:cut])).shape == (32, 32, 3)
    except KindredError as error:
        assert error.status in (400, 413, 415)


def test_decoding_an_encoded_image_returns_it() -> None:
    assert (pixels_of(encode(striped_image(5, 5))) == striped_image(5, 5)).all()


PNG_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")
PNG_CHUNKS = {
    b"gAMA": struct.pack(">I", 45455),
    b"sRGB": b"\0",
    b"tIME": bytes([7, 234, 1, 2, 3, 4, 5]),
    b"tRNS": struct.pack(">HHH", *ORANGE),
    b"tEXt": b"Comment\0a cat",
    b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>",
}


def with_chunk(data: bytes, name: bytes, *, last: bool) -> bytes:
    """Insert a chunk after the header of a PNG, or before its end."""
    body = name + PNG_CHUNKS[name]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    place = len(data) - 12 if last else 33
    return data[:place] + chunk + data[place:]


@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    mode=st.sampled_from(PNG_MODES),
    chunks=st.lists(st.tuples(st.sampled_from(sorted(PNG_CHUNKS)), st.booleans()), max_size=2),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
)
def test_a_plain_png_has_the_pixels_that_pillow_finds(
    seed: int, size: tuple[int, int], mode: str, chunks: list[tuple[bytes, bool]], fit: Fit
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(noise)
    data = file_of(
        image.convert("L").convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    )
    for name, last in chunks:
        if mode == "RGB" or name != b"tRNS":
            data = with_chunk(data, name, last=last)
    pixels = decode_plain_png(data, 32, fit)
    plain = mode == "RGB" and size[0] * size[1] <= 128 * 128
    if plain and all(name in (b"gAMA", b"sRGB", b"tIME") for name, _ in chunks):
        assert pixels is not None
    if pixels is not None:
        assert np.array_equal(pixels, pixels_of(data, fit))


@given(data=st.data(), seed=st.integers(0, 50))
def test_a_damaged_plain_png_is_decoded_only_if_pillow_decodes_it(
    data: st.DataObject, seed: int
) -> None:
    file = bytearray(png(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)))
    for position in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=3)):
        file[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = bytes(file[: data.draw(st.integers(1, len(file)))])
    pixels = decode_plain_png(damaged, 32)
    if pixels is not None:
        assert np.array_equal(pixels, pixels_of(damaged))

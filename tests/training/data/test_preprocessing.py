"""Preprocessing of any image to 32 x 32 RGB."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.images import striped_image
from training.data import preprocessing
from training.data.preprocessing import SIZE, Fit, to_pixels, to_rgb

ALL_FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")


def bands(width: int, height: int) -> Image.Image:
    """Draw a red left third, a green middle and a blue right third."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        image[:, channel * width // 3 : (channel + 1) * width // 3, channel] = 255
    return Image.fromarray(image)


@pytest.mark.parametrize("fit", ALL_FITS)
def test_an_image_of_the_right_size_is_unchanged(fit: Fit) -> None:
    pixels = striped_image(3, seed=0)
    assert np.array_equal(to_pixels(Image.fromarray(pixels), fit), pixels)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = to_pixels(Image.new(mode, (50, 40)))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("fit", ALL_FITS)
@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (1, 4000), (33, 32)])
def test_every_size_becomes_32_by_32(fit: Fit, size: tuple[int, int]) -> None:
    assert to_pixels(Image.new("RGB", size), fit).shape == (SIZE, SIZE, 3)


def test_crop_keeps_the_centre_square() -> None:
    pixels = to_pixels(bands(96, 32), "crop")
    assert (pixels[:, 2:-2] == (0, 255, 0)).all()


def test_pad_keeps_the_whole_image_between_white_bars() -> None:
    pixels = to_pixels(bands(96, 32), "pad")
    assert (pixels[0] == 255).all()
    assert (pixels[-1] == 255).all()
    assert [int(pixels[16, x].argmax()) for x in (4, 16, 28)] == [0, 1, 2]


def test_stretch_changes_the_proportions() -> None:
    pixels = to_pixels(bands(96, 32), "stretch")
    assert [int(pixels[0, x].argmax()) for x in (4, 16, 28)] == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_pad_keeps_a_pixel_of_the_thinnest_image(size: tuple[int, int]) -> None:
    pixels = to_pixels(Image.new("RGB", size, (10, 20, 30)), "pad")
    shown = (pixels == (10, 20, 30)).all(2)
    assert shown.sum() == SIZE
    assert (pixels[~shown] == 255).all()


@pytest.mark.parametrize("fit", ALL_FITS)
@pytest.mark.parametrize("mode", MODES)
def test_the_height_of_strips_changes_no_pixel(
    fit: Fit, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Narrow, wide and small images of noise; in one piece they differ by rounding alone."""
    random = np.random.default_rng(0)
    for width, height in ((71, 40), (40, 71), (32, 50), (50, 32), (1, 1500)):
        noise = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
        image = Image.fromarray(noise, "RGBA")
        image = image.convert("RGB").convert(mode) if mode != "LA" else image.convert("LA")
        if mode in ("L", "P", "1", "I;16"):
            image.info["transparency"] = 255 if mode == "1" else 3
        whole = to_pixels(image, fit).astype(int)
        monkeypatch.setattr(preprocessing, "STRIP_PIXELS", min(1000, width * height - 1))
        many = to_pixels(image, fit)
        monkeypatch.setattr(preprocessing, "STRIP_PIXELS", width * height - 1)
        assert np.array_equal(to_pixels(image, fit), many)
        assert np.abs(whole - many).mean() < 5
        monkeypatch.undo()


def test_fits_are_those_of_pillow() -> None:
    random = np.random.default_rng(1)
    for width, height in ((71, 40), (40, 71), (33, 90), (500, 31)):
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        size, method = (SIZE, SIZE), Image.Resampling.BICUBIC
        cropped, padded = (
            ImageOps.fit(image, size, method),
            ImageOps.pad(image, size, method, color=(255, 255, 255)),
        )
        assert np.array_equal(to_pixels(image, "crop"), np.asarray(cropped))
        assert np.array_equal(to_pixels(image, "pad"), np.asarray(padded))


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (SIZE, SIZE), (255, 0, 0, 0))
    image.putpixel((5, 7), (255, 0, 0, 255))
    pixels = to_pixels(image)
    assert tuple(pixels[7, 5]) == (255, 0, 0)
    assert tuple(pixels[0, 0]) == (255, 255, 255)


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = 1
    assert (to_pixels(image) == 255).all()


def test_the_exif_orientation_is_applied() -> None:
    image = bands(96, 96)
    image.getexif()[0x0112] = 6  # rotated by 90 degrees: the left side becomes the top
    pixels = to_pixels(image)
    assert [int(pixels[y, 16].argmax()) for y in (4, 16, 28)] == [0, 1, 2]


def test_sixteen_bit_greyscale_keeps_its_high_byte() -> None:
    levels = np.full((SIZE, SIZE), 0xAB12, dtype=np.uint16)
    assert (to_pixels(Image.fromarray(levels)) == 0xAB).all()


@pytest.mark.parametrize(("level", "expected"), [(1.0, 255), (0.0, 0), (200.0, 200), (900.0, 255)])
def test_float_greyscale_is_read_as_0_to_1_or_as_0_to_255(level: float, expected: int) -> None:
    image = Image.fromarray(np.full((SIZE, SIZE), level, dtype=np.float32))
    assert np.asarray(to_rgb(image))[0, 0].tolist() == [expected] * 3

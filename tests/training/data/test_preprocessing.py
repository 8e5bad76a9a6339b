"""Preprocessing of any image to 32 x 32 RGB."""

import numpy as np
import pytest
from PIL import Image

from tests.support.images import striped_image
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

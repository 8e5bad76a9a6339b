"""Draws small scenes of CIFAR-10's ten classes, which may be published.

Screenshots of the web page need a gallery, and the licence of the data set does not cover them.
Knows shapes and random numbers, but no networks.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.support.synthetic.animals import bird, cat, deer, dog, frog, horse
from tests.support.synthetic.brushes import SIDE, Draw, Random
from tests.support.synthetic.vehicles import airplane, automobile, ship, truck

SCENES: dict[str, Callable[[Draw, Random], None]] = {
    "airplane": airplane,
    "automobile": automobile,
    "bird": bird,
    "cat": cat,
    "deer": deer,
    "dog": dog,
    "frog": frog,
    "horse": horse,
    "ship": ship,
    "truck": truck,
}


def draw_scene(name: str, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Draw a scene of a class; colours, positions and light depend on the seed."""
    random = np.random.default_rng((list(SCENES).index(name), seed))
    scene = Image.new("RGB", (SIDE, SIDE))
    SCENES[name](ImageDraw.Draw(scene), random)
    if random.random() < 0.5:
        scene = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    grain = random.normal(0, 7, (SIDE, SIDE, 1))
    blurred = np.asarray(scene.filter(ImageFilter.GaussianBlur(1.5)), dtype=float)
    light = random.uniform(0.85, 1.1)
    pixels = np.clip(blurred * light + grain, 0, 255).astype(np.uint8)
    square = Image.fromarray(pixels)
    if size == (SIDE, SIDE):
        return square
    wide = square.resize((size[1], size[1]), Image.Resampling.LANCZOS)
    edge = (size[0] - size[1]) // 2
    whole = Image.new("RGB", size)
    whole.paste(wide.crop((0, 0, 1, size[1])).resize((edge, size[1])), (0, 0))
    last = wide.crop((size[1] - 1, 0, size[1], size[1]))
    whole.paste(last.resize((size[0] - edge - size[1], size[1])), (edge + size[1], 0))
    whole.paste(wide, (edge, 0))
    return whole

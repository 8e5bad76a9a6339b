"""Small scenes of CIFAR-10's ten classes, drawn: pictures of them that are nobody's but ours.

Where the page is to be shown to people, its gallery needs pictures, and those of the data set are
not ours to show. Knows shapes and chance; nothing of networks.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256

Random = np.random.Generator
Draw = ImageDraw.ImageDraw
Colour = tuple[int, int, int]
Point = tuple[float, float]


def drawing(name: str, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A scene of one class; another seed has other colours, places and light."""
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


def _shade(random: Random, colour: Colour, spread: int = 25) -> Colour:
    moved = np.clip(np.array(colour) + random.integers(-spread, spread + 1), 0, 255)
    return (int(moved[0]), int(moved[1]), int(moved[2]))


def _one(random: Random, *colours: Colour) -> Colour:
    return _shade(random, colours[random.integers(len(colours))])


def _sweep(draw: Draw, above: Colour, below: Colour, top: float, bottom: float) -> None:
    """A band that goes from one colour to another."""
    for y in range(round(top), round(bottom)):
        part = (y - top) / (bottom - top)
        mixed = [round(a + (b - a) * part) for a, b in zip(above, below, strict=True)]
        draw.line([(0, y), (SIDE, y)], fill=(mixed[0], mixed[1], mixed[2]))


def _sky(draw: Draw, random: Random, horizon: float) -> None:
    above = _one(random, (70, 130, 200), (120, 160, 210), (150, 165, 185))
    _sweep(draw, above, _shade(random, (195, 215, 235)), 0, horizon)


def _meadow(draw: Draw, random: Random, horizon: float) -> None:
    _sky(draw, random, horizon)
    grass = _one(random, (95, 135, 60), (120, 140, 75), (150, 135, 85))
    _sweep(draw, grass, _shade(random, (70, 100, 45)), horizon, SIDE)


def _blob(draw: Draw, x: float, y: float, across: float, down: float, fill: Colour) -> None:
    draw.ellipse([x - across, y - down, x + across, y + down], fill=fill)


def _ship(draw: Draw, random: Random) -> None:
    water = random.uniform(140, 165)
    _sky(draw, random, water)
    _sweep(draw, _shade(random, (60, 110, 150)), _shade(random, (25, 60, 100)), water, SIDE)
    hull, paint = _one(random, (30, 35, 50), (120, 35, 35), (35, 70, 110)), (235, 235, 230)
    left, right, deck = random.uniform(20, 50), random.uniform(205, 240), water - 20
    draw.polygon(
        [(left, deck), (right, deck), (right - 22, water + 16), (left + 20, water + 16)], fill=hull
    )
    height = random.uniform(22, 34)
    draw.rectangle([left + 35, deck - height, right - 40, deck], fill=paint)
    draw.rectangle(
        [left + 60, deck - 1.7 * height, right - 75, deck - height], fill=(215, 220, 222)
    )
    for x in np.linspace(left + 75, right - 105, random.integers(1, 3)):
        draw.rectangle(
            [x, deck - 2.6 * height, x + 18, deck - 1.7 * height],
            fill=_shade(random, (190, 60, 40)),
        )


def _airplane(draw: Draw, random: Random) -> None:
    _sky(draw, random, SIDE)
    for _ in range(random.integers(0, 4)):
        _blob(
            draw,
            *random.uniform(0, SIDE, 2),
            random.uniform(25, 50),
            random.uniform(8, 16),
            (225, 232, 240),
        )
    paint, y, tilt = (
        _one(random, (225, 228, 232), (190, 200, 210)),
        random.uniform(110, 145),
        random.uniform(-0.2, 0.2),
    )

    def turned(*points: Point) -> list[Point]:
        return [(128 + x - tilt * dy, y + dy + tilt * x) for x, dy in points]

    draw.polygon(
        turned((-105, -6), (-95, -14), (80, -12), (108, 2), (85, 11), (-80, 10)), fill=paint
    )
    draw.polygon(
        turned((-105, -6), (-118, -48), (-98, -48), (-72, -8)),
        fill=_shade(random, (40, 80, 150), 40),
    )
    draw.polygon(turned((20, 2), (-30, 62), (-52, 62), (-22, 2)), fill=(150, 158, 170))
    draw.polygon(turned((20, -6), (-18, -46), (-36, -46), (-18, -8)), fill=(175, 182, 192))


def _street(draw: Draw, random: Random) -> float:
    ground = random.uniform(170, 190)
    _sky(draw, random, ground)
    draw.rectangle(
        [0, ground - random.uniform(20, 60), SIDE, ground],
        fill=_one(random, (110, 120, 100), (140, 130, 120)),
    )
    _sweep(draw, _shade(random, (125, 125, 128)), _shade(random, (90, 90, 95)), ground, SIDE)
    return ground


def _wheels(draw: Draw, y: float, *places: float) -> None:
    for x in places:
        _blob(draw, x, y, 21, 21, (25, 25, 28))
        _blob(draw, x, y, 10, 10, (150, 152, 156))


def _automobile(draw: Draw, random: Random) -> None:
    y = _street(draw, random) + 20
    paint = _one(
        random, (190, 35, 35), (40, 80, 160), (220, 190, 60), (60, 65, 70), (210, 212, 215)
    )
    draw.polygon([(62, y - 42), (96, y - 82), (170, y - 82), (208, y - 42)], fill=paint)
    draw.polygon([(76, y - 44), (102, y - 74), (132, y - 74), (132, y - 44)], fill=(60, 75, 90))
    draw.polygon([(138, y - 44), (138, y - 74), (164, y - 74), (190, y - 44)], fill=(60, 75, 90))
    draw.rounded_rectangle(
        [
            18,
            y - 46,
            240,
            y,
        ],
        16,
        fill=paint,
    )
    _wheels(draw, y, 66, 192)


def _truck(draw: Draw, random: Random) -> None:
    y = _street(draw, random) + 24
    load = _one(random, (225, 225, 220), (200, 140, 60), (90, 120, 150), (120, 140, 90))
    draw.rectangle([14, y - random.uniform(118, 136), 165, y - 14], fill=load)
    cab = _one(random, (180, 40, 40), (40, 80, 150), (230, 230, 225), (50, 110, 80))
    draw.rounded_rectangle([170, y - 96, 240, y - 4], 8, fill=cab)
    draw.rectangle([194, y - 86, 234, y - 52], fill=(70, 85, 100))
    draw.rectangle([14, y - 16, 240, y - 4], fill=(45, 45, 50))
    _wheels(draw, y, 50, 100, 206)


def _beast(
    draw: Draw, random: Random, coat: Colour, neck: Point, legs: float, stout: float
) -> Point:
    """A body on four legs, its neck up to where its head is; returns that place."""
    x, y = random.uniform(105, 120), random.uniform(128, 140)
    dark = _shade(random, (coat[0] * 3 // 4, coat[1] * 3 // 4, coat[2] * 3 // 4), 8)
    for place, shade in ((-48, dark), (-30, coat), (34, dark), (50, coat)):
        draw.polygon(
            [
                (x + place - 9, y),
                (x + place + 9, y),
                (x + place + 5, y + legs),
                (x + place - 5, y + legs),
            ],
            fill=shade,
        )
    _blob(draw, x, y, 66, stout, coat)
    head = (x + 52 + neck[0], y - neck[1])
    draw.polygon(
        [
            (x + 30, y - stout * 0.7),
            (x + 64, y),
            (head[0] + 10, head[1] + 12),
            (head[0] - 14, head[1] - 2),
        ],
        fill=coat,
    )
    return head


def _deer(draw: Draw, random: Random) -> None:
    _meadow(draw, random, random.uniform(60, 120))
    coat = _one(random, (150, 100, 60), (170, 125, 80))
    x, y = _beast(draw, random, coat, (22, 62), 88, 30)
    draw.polygon(
        [(x - 14, y - 12), (x + 14, y - 10), (x + 40, y + 12), (x + 30, y + 18), (x - 6, y + 14)],
        fill=coat,
    )
    for lean in (-1, 1):
        draw.line(
            [(x, y - 8), (x + 12 * lean, y - 40), (x + 26 * lean, y - 62)],
            fill=(95, 70, 45),
            width=5,
        )
        draw.line([(x + 12 * lean, y - 40), (x + 2 * lean, y - 60)], fill=(95, 70, 45), width=4)


def _horse(draw: Draw, random: Random) -> None:
    _meadow(draw, random, random.uniform(90, 140))
    coat = _one(random, (95, 55, 35), (60, 50, 48), (165, 120, 80), (205, 200, 195))
    x, y = _beast(draw, random, coat, (16, 66), 84, 38)
    mane = _shade(random, (40, 30, 25), 10)
    draw.polygon(
        [(x - 14, y - 12), (x + 12, y - 14), (x + 46, y + 24), (x + 34, y + 34), (x - 8, y + 20)],
        fill=coat,
    )
    draw.polygon([(x - 12, y - 18), (x - 22, y + 4), (x - 40, y + 48), (x - 20, y + 34)], fill=mane)
    draw.polygon([(44, 118), (56, 112), (40, 190), (26, 186)], fill=mane)


def _dog(draw: Draw, random: Random) -> None:
    _meadow(draw, random, random.uniform(40, 110))
    coat = _one(random, (225, 215, 200), (180, 130, 75), (70, 55, 48), (120, 85, 55))
    x, y = _beast(draw, random, coat, (10, 34), 62, 34)
    _blob(draw, x, y, 30, 27, coat)
    _blob(draw, x + 28, y + 10, 20, 12, coat)
    _blob(draw, x + 44, y + 6, 6, 5, (25, 22, 22))
    _blob(draw, x - 16, y + 4, 11, 26, _shade(random, (90, 65, 45)))
    _blob(draw, x + 8, y - 6, 4, 4, (20, 18, 18))
    draw.line([(48, 122), (22, 86)], fill=coat, width=12)


def _cat(draw: Draw, random: Random) -> None:
    wall, floor = (
        _one(random, (170, 150, 130), (120, 135, 150), (185, 170, 160)),
        _one(random, (120, 90, 70), (100, 105, 115)),
    )
    _sweep(draw, wall, wall, 0, 190)
    _sweep(draw, floor, _shade(random, floor), 190, SIDE)
    coat = _one(random, (120, 110, 105), (200, 140, 80), (60, 58, 60), (225, 220, 212))
    dark = (coat[0] * 2 // 3, coat[1] * 2 // 3, coat[2] * 2 // 3)
    x, y = 128 + random.uniform(-15, 15), random.uniform(92, 108)
    _blob(draw, x, y + 92, 62, 74, coat)
    for lean in (-1, 1):
        draw.polygon(
            [(x + 52 * lean, y - 62), (x + 56 * lean, y - 8), (x + 12 * lean, y - 42)], fill=coat
        )
        draw.polygon(
            [(x + 46 * lean, y - 48), (x + 48 * lean, y - 18), (x + 24 * lean, y - 36)],
            fill=(205, 150, 145),
        )
    _blob(draw, x, y, 58, 50, coat)
    for lean in (-1, 1):
        _blob(draw, x + 24 * lean, y - 6, 12, 10, _one(random, (150, 175, 70), (210, 180, 60)))
        _blob(draw, x + 24 * lean, y - 6, 4, 9, (15, 15, 15))
        for stripe in (-30, -20):
            draw.line(
                [(x + 8 * lean, y + stripe), (x + 16 * lean, y + stripe - 14)], fill=dark, width=5
            )
    _blob(draw, x, y + 22, 20, 14, (235, 228, 222))
    draw.polygon([(x - 7, y + 12), (x + 7, y + 12), (x, y + 20)], fill=(190, 110, 110))


def _bird(draw: Draw, random: Random) -> None:
    _sweep(
        draw,
        _one(random, (150, 185, 215), (120, 150, 90), (190, 190, 180)),
        _shade(random, (110, 140, 90)),
        0,
        SIDE,
    )
    coat, wing = (
        _one(random, (110, 85, 60), (60, 95, 150), (170, 60, 45)),
        _one(random, (70, 60, 50), (40, 60, 95)),
    )
    y = random.uniform(115, 135)
    draw.line([(0, y + 66), (SIDE, y + 54)], fill=(85, 62, 42), width=12)
    draw.polygon([(70, y + 8), (14, y + 46), (30, y + 58), (96, y + 34)], fill=wing)
    _blob(draw, 122, y + 12, 62, 42, coat)
    _blob(draw, 122, y + 28, 46, 26, (215, 200, 175))
    _blob(draw, 174, y - 28, 32, 29, coat)
    _blob(draw, 104, y + 8, 44, 24, wing)
    draw.polygon([(200, y - 36), (238, y - 24), (200, y - 16)], fill=(225, 165, 55))
    _blob(draw, 182, y - 34, 6, 6, (15, 15, 15))
    for x in (112, 136):
        draw.line([(x, y + 48), (x, y + 62)], fill=(200, 150, 60), width=5)


def _frog(draw: Draw, random: Random) -> None:
    _sweep(
        draw,
        _one(random, (70, 60, 45), (40, 60, 40), (120, 105, 80)),
        _shade(random, (50, 60, 35)),
        0,
        SIDE,
    )
    skin = _one(random, (110, 150, 50), (80, 120, 50), (140, 130, 60))
    dark = (skin[0] * 2 // 3, skin[1] * 2 // 3, skin[2] * 2 // 3)
    y = random.uniform(135, 150)
    for lean in (-1, 1):
        _blob(draw, 128 + 70 * lean, y + 42, 42, 26, dark)
        draw.line([(128 + 40 * lean, y + 20), (128 + 52 * lean, y + 74)], fill=skin, width=16)
    _blob(draw, 128, y + 14, 74, 56, skin)
    _blob(draw, 128, y - 26, 62, 38, skin)
    _blob(draw, 128, y + 40, 44, 28, (200, 205, 150))
    for lean in (-1, 1):
        _blob(draw, 128 + 38 * lean, y - 56, 20, 19, skin)
        _blob(draw, 128 + 40 * lean, y - 57, 12, 12, (230, 200, 80))
        _blob(draw, 128 + 40 * lean, y - 57, 6, 8, (10, 10, 10))
        for _ in range(4):
            _blob(
                draw, 128 + lean * random.uniform(10, 60), y + random.uniform(-30, 30), 7, 6, dark
            )
    draw.arc([84, y - 44, 172, y + 4], 20, 160, fill=dark, width=5)


SCENES: dict[str, Callable[[Draw, Random], None]] = {
    "airplane": _airplane,
    "automobile": _automobile,
    "bird": _bird,
    "cat": _cat,
    "deer": _deer,
    "dog": _dog,
    "frog": _frog,
    "horse": _horse,
    "ship": _ship,
    "truck": _truck,
}

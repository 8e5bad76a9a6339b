"""Draws the classes that are vehicles."""

import numpy as np

from tests.support.synthetic.brushes import (
    SIDE,
    Draw,
    Point,
    Random,
    blob,
    one,
    shade,
    sky,
    sweep,
)


def ship(draw: Draw, random: Random) -> None:
    water = random.uniform(140, 165)
    sky(draw, random, water)
    sweep(draw, shade(random, (60, 110, 150)), shade(random, (25, 60, 100)), water, SIDE)
    hull, paint = one(random, (30, 35, 50), (120, 35, 35), (35, 70, 110)), (235, 235, 230)
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
            fill=shade(random, (190, 60, 40)),
        )


def airplane(draw: Draw, random: Random) -> None:
    sky(draw, random, SIDE)
    for _ in range(random.integers(0, 4)):
        blob(
            draw,
            random.uniform(0, SIDE),
            random.uniform(0, SIDE),
            random.uniform(25, 50),
            random.uniform(8, 16),
            (225, 232, 240),
        )
    paint, y, tilt = (
        one(random, (225, 228, 232), (190, 200, 210)),
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
        fill=shade(random, (40, 80, 150), 40),
    )
    draw.polygon(turned((20, 2), (-30, 62), (-52, 62), (-22, 2)), fill=(150, 158, 170))
    draw.polygon(turned((20, -6), (-18, -46), (-36, -46), (-18, -8)), fill=(175, 182, 192))


def _street(draw: Draw, random: Random) -> float:
    ground = random.uniform(170, 190)
    sky(draw, random, ground)
    draw.rectangle(
        [0, ground - random.uniform(20, 60), SIDE, ground],
        fill=one(random, (110, 120, 100), (140, 130, 120)),
    )
    sweep(draw, shade(random, (125, 125, 128)), shade(random, (90, 90, 95)), ground, SIDE)
    return ground


def _wheels(draw: Draw, y: float, *places: float) -> None:
    for x in places:
        blob(draw, x, y, 21, 21, (25, 25, 28))
        blob(draw, x, y, 10, 10, (150, 152, 156))


def automobile(draw: Draw, random: Random) -> None:
    y = _street(draw, random) + 20
    paint = one(random, (190, 35, 35), (40, 80, 160), (220, 190, 60), (60, 65, 70), (210, 212, 215))
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


def truck(draw: Draw, random: Random) -> None:
    y = _street(draw, random) + 24
    load = one(random, (225, 225, 220), (200, 140, 60), (90, 120, 150), (120, 140, 90))
    draw.rectangle([14, y - random.uniform(118, 136), 165, y - 14], fill=load)
    cab = one(random, (180, 40, 40), (40, 80, 150), (230, 230, 225), (50, 110, 80))
    draw.rounded_rectangle([170, y - 96, 240, y - 4], 8, fill=cab)
    draw.rectangle([194, y - 86, 234, y - 52], fill=(70, 85, 100))
    draw.rectangle([14, y - 16, 240, y - 4], fill=(45, 45, 50))
    _wheels(draw, y, 50, 100, 206)

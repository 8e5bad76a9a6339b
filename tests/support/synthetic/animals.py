"""Draws the classes that are animals."""

from tests.support.synthetic.brushes import (
    SIDE,
    Colour,
    Draw,
    Point,
    Random,
    blob,
    meadow,
    one,
    shade,
    sweep,
)


def _beast(
    draw: Draw, random: Random, coat: Colour, neck: Point, legs: float, stout: float
) -> Point:
    """Draw a body on four legs with a neck; return the position of the head."""
    x, y = random.uniform(105, 120), random.uniform(128, 140)
    dark = shade(random, (coat[0] * 3 // 4, coat[1] * 3 // 4, coat[2] * 3 // 4), 8)
    for place, paint in ((-48, dark), (-30, coat), (34, dark), (50, coat)):
        draw.polygon(
            [
                (x + place - 9, y),
                (x + place + 9, y),
                (x + place + 5, y + legs),
                (x + place - 5, y + legs),
            ],
            fill=paint,
        )
    blob(draw, x, y, 66, stout, coat)
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


def deer(draw: Draw, random: Random) -> None:
    meadow(draw, random, random.uniform(60, 120))
    coat = one(random, (150, 100, 60), (170, 125, 80))
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


def horse(draw: Draw, random: Random) -> None:
    meadow(draw, random, random.uniform(90, 140))
    coat = one(random, (95, 55, 35), (60, 50, 48), (165, 120, 80), (205, 200, 195))
    x, y = _beast(draw, random, coat, (16, 66), 84, 38)
    mane = shade(random, (40, 30, 25), 10)
    draw.polygon(
        [(x - 14, y - 12), (x + 12, y - 14), (x + 46, y + 24), (x + 34, y + 34), (x - 8, y + 20)],
        fill=coat,
    )
    draw.polygon([(x - 12, y - 18), (x - 22, y + 4), (x - 40, y + 48), (x - 20, y + 34)], fill=mane)
    draw.polygon([(44, 118), (56, 112), (40, 190), (26, 186)], fill=mane)


def dog(draw: Draw, random: Random) -> None:
    meadow(draw, random, random.uniform(40, 110))
    coat = one(random, (225, 215, 200), (180, 130, 75), (70, 55, 48), (120, 85, 55))
    x, y = _beast(draw, random, coat, (10, 34), 62, 34)
    blob(draw, x, y, 30, 27, coat)
    blob(draw, x + 28, y + 10, 20, 12, coat)
    blob(draw, x + 44, y + 6, 6, 5, (25, 22, 22))
    blob(draw, x - 16, y + 4, 11, 26, shade(random, (90, 65, 45)))
    blob(draw, x + 8, y - 6, 4, 4, (20, 18, 18))
    draw.line([(48, 122), (22, 86)], fill=coat, width=12)


def cat(draw: Draw, random: Random) -> None:
    wall, floor = (
        one(random, (170, 150, 130), (120, 135, 150), (185, 170, 160)),
        one(random, (120, 90, 70), (100, 105, 115)),
    )
    sweep(draw, wall, wall, 0, 190)
    sweep(draw, floor, shade(random, floor), 190, SIDE)
    coat = one(random, (120, 110, 105), (200, 140, 80), (60, 58, 60), (225, 220, 212))
    dark = (coat[0] * 2 // 3, coat[1] * 2 // 3, coat[2] * 2 // 3)
    x, y = 128 + random.uniform(-15, 15), random.uniform(92, 108)
    blob(draw, x, y + 92, 62, 74, coat)
    for lean in (-1, 1):
        draw.polygon(
            [(x + 52 * lean, y - 62), (x + 56 * lean, y - 8), (x + 12 * lean, y - 42)], fill=coat
        )
        draw.polygon(
            [(x + 46 * lean, y - 48), (x + 48 * lean, y - 18), (x + 24 * lean, y - 36)],
            fill=(205, 150, 145),
        )
    blob(draw, x, y, 58, 50, coat)
    for lean in (-1, 1):
        blob(draw, x + 24 * lean, y - 6, 12, 10, one(random, (150, 175, 70), (210, 180, 60)))
        blob(draw, x + 24 * lean, y - 6, 4, 9, (15, 15, 15))
        for stripe in (-30, -20):
            draw.line(
                [(x + 8 * lean, y + stripe), (x + 16 * lean, y + stripe - 14)], fill=dark, width=5
            )
    blob(draw, x, y + 22, 20, 14, (235, 228, 222))
    draw.polygon([(x - 7, y + 12), (x + 7, y + 12), (x, y + 20)], fill=(190, 110, 110))


def bird(draw: Draw, random: Random) -> None:
    sweep(
        draw,
        one(random, (150, 185, 215), (120, 150, 90), (190, 190, 180)),
        shade(random, (110, 140, 90)),
        0,
        SIDE,
    )
    coat, wing = (
        one(random, (110, 85, 60), (60, 95, 150), (170, 60, 45)),
        one(random, (70, 60, 50), (40, 60, 95)),
    )
    y = random.uniform(115, 135)
    draw.line([(0, y + 66), (SIDE, y + 54)], fill=(85, 62, 42), width=12)
    draw.polygon([(70, y + 8), (14, y + 46), (30, y + 58), (96, y + 34)], fill=wing)
    blob(draw, 122, y + 12, 62, 42, coat)
    blob(draw, 122, y + 28, 46, 26, (215, 200, 175))
    blob(draw, 174, y - 28, 32, 29, coat)
    blob(draw, 104, y + 8, 44, 24, wing)
    draw.polygon([(200, y - 36), (238, y - 24), (200, y - 16)], fill=(225, 165, 55))
    blob(draw, 182, y - 34, 6, 6, (15, 15, 15))
    for x in (112, 136):
        draw.line([(x, y + 48), (x, y + 62)], fill=(200, 150, 60), width=5)


def frog(draw: Draw, random: Random) -> None:
    sweep(
        draw,
        one(random, (70, 60, 45), (40, 60, 40), (120, 105, 80)),
        shade(random, (50, 60, 35)),
        0,
        SIDE,
    )
    skin = one(random, (110, 150, 50), (80, 120, 50), (140, 130, 60))
    dark = (skin[0] * 2 // 3, skin[1] * 2 // 3, skin[2] * 2 // 3)
    y = random.uniform(135, 150)
    for lean in (-1, 1):
        blob(draw, 128 + 70 * lean, y + 42, 42, 26, dark)
        draw.line([(128 + 40 * lean, y + 20), (128 + 52 * lean, y + 74)], fill=skin, width=16)
    blob(draw, 128, y + 14, 74, 56, skin)
    blob(draw, 128, y - 26, 62, 38, skin)
    blob(draw, 128, y + 40, 44, 28, (200, 205, 150))
    for lean in (-1, 1):
        blob(draw, 128 + 38 * lean, y - 56, 20, 19, skin)
        blob(draw, 128 + 40 * lean, y - 57, 12, 12, (230, 200, 80))
        blob(draw, 128 + 40 * lean, y - 57, 6, 8, (10, 10, 10))
        for _ in range(4):
            blob(draw, 128 + lean * random.uniform(10, 60), y + random.uniform(-30, 30), 7, 6, dark)
    draw.arc([84, y - 44, 172, y + 4], 20, 160, fill=dark, width=5)

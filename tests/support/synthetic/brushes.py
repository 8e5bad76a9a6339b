"""Draws the parts of scenes: random colours, skies, meadows, ellipses. Knows no scene."""

import numpy as np
from PIL import ImageDraw

SIDE = 256

Random = np.random.Generator
Draw = ImageDraw.ImageDraw
Colour = tuple[int, int, int]
Point = tuple[float, float]


def shade(random: Random, colour: Colour, spread: int = 25) -> Colour:
    moved = np.clip(np.array(colour) + random.integers(-spread, spread + 1), 0, 255)
    return (int(moved[0]), int(moved[1]), int(moved[2]))


def one(random: Random, *colours: Colour) -> Colour:
    return shade(random, colours[random.integers(len(colours))])


def sweep(draw: Draw, above: Colour, below: Colour, top: float, bottom: float) -> None:
    """Draw a vertical gradient from one colour to another."""
    for y in range(round(top), round(bottom)):
        part = (y - top) / (bottom - top)
        mixed = [round(a + (b - a) * part) for a, b in zip(above, below, strict=True)]
        draw.line([(0, y), (SIDE, y)], fill=(mixed[0], mixed[1], mixed[2]))


def sky(draw: Draw, random: Random, horizon: float) -> None:
    above = one(random, (70, 130, 200), (120, 160, 210), (150, 165, 185))
    sweep(draw, above, shade(random, (195, 215, 235)), 0, horizon)


def meadow(draw: Draw, random: Random, horizon: float) -> None:
    sky(draw, random, horizon)
    grass = one(random, (95, 135, 60), (120, 140, 75), (150, 135, 85))
    sweep(draw, grass, shade(random, (70, 100, 45)), horizon, SIDE)


def blob(draw: Draw, x: float, y: float, across: float, down: float, fill: Colour) -> None:
    draw.ellipse([x - across, y - down, x + across, y + down], fill=fill)

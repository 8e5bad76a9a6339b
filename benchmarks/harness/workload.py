"""The pictures that servers are asked about, and what they must say of them.

From the bundle's gallery where it has pixels, else drawn. Of many the network's surest are taken,
so that no rounding makes a right answer look wrong. Knows bundles; nothing of servers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image

from benchmarks.harness.load_generator import Answer
from training.bundle import SIZE, Bundle, Pixels

Task = Literal["class", "conv2"]
"""What is asked for: the class alone, or with the ten nearest at conv2."""

COUNT: Final = 32
CANDIDATES: Final = 256
NEAREST: Final = 10
MISSED: Final = 1
"""How many of the exact nearest an answer may lack: no index here is asked for more than 0.998."""


@dataclass(frozen=True)
class Query:
    """A picture, as pixels and as a PNG; its class; and the ids of its exact nearest at conv2."""

    pixels: Pixels
    png: bytes
    label: str
    nearest: frozenset[str]


@torch.inference_mode()
def queries(bundle: Bundle) -> tuple[Query, ...]:
    """The same for the same bundle."""
    pixels = bundle.gallery.pixels
    if pixels is None:
        candidates = _drawn()
    else:
        step = -(-len(pixels) // CANDIDATES)
        candidates = np.array(pixels[::step])
    images = torch.from_numpy(candidates).permute(0, 3, 1, 2)
    found = bundle.network.representations(images, ("conv2", "logits"))
    sure, classes = found["logits"].softmax(1).max(1)
    chosen = sure.argsort(descending=True)[:COUNT]
    _, nearest = bundle.indexes["conv2"].search(found["conv2"][chosen].numpy(), NEAREST, exact=True)
    return tuple(
        Query(
            pixels=candidates[position],
            png=_png(candidates[position]),
            label=bundle.manifest.classes[int(classes[position])],
            nearest=frozenset(bundle.gallery.ids[neighbour] for neighbour in neighbours),
        )
        for position, neighbours in zip(chosen.tolist(), nearest, strict=True)
    )


def wrong_answers(answers: Sequence[Answer], asked: Sequence[Query], task: Task) -> list[Answer]:
    """Those that are not what they must be: status 200, the right class, the nearest."""
    return [one for one in answers if not _is_right(one, asked[one.asked], task)]


def _is_right(answer: Answer, query: Query, task: Task) -> bool:
    if answer.status != HTTPStatus.OK:
        return False
    try:
        said = json.loads(answer.body)
        (one,) = said if isinstance(said, list) else [said]  # those that batch may give lists
        if one["predictions"][0]["label"] != query.label:
            return False
        if task == "class":
            return True
        found = {neighbour["id"] for neighbour in one["similar"]["conv2"]}
    except (LookupError, TypeError, ValueError):  # not an answer of this shape
        return False
    return len(query.nearest - found) <= MISSED


def _drawn() -> Pixels:
    """Patches of colour that run into each other."""
    drawn = np.random.default_rng(0)
    patches = drawn.integers(0, 256, (CANDIDATES, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((SIZE, SIZE))) for one in patches])


def _png(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

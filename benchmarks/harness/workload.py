"""The images that the load generator sends, and the responses that are right for them.

Images come from the bundle's gallery if it has pixels, else they are synthetic. Of the candidates
those with the highest class probability are chosen, so that rounding does not change the class.
Knows bundles, but no servers.
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

from benchmarks.harness.load_generator import Response
from training.bundle import Bundle, Pixels

Task = Literal["class", "conv2"]
"""The class alone, or the class and the ten nearest at conv2."""

COUNT: Final = 32
SIDE: Final = 32
"""Side of the images that the measured networks see."""
CANDIDATES: Final = 256
NEAREST: Final = 10
MAX_MISSED: Final = 1
"""How many of the exact nearest may be missing: the indexes are tuned to a recall of 0.998."""


@dataclass(frozen=True)
class Query:
    """An image as pixels and as PNG, with its class and the ids of its exact nearest at conv2."""

    pixels: Pixels
    png: bytes
    label: str
    nearest: frozenset[str]


@torch.inference_mode()
def build_queries(bundle: Bundle) -> tuple[Query, ...]:
    """Choose the images for a bundle, and compute the right response to each. Deterministic."""
    pixels = bundle.gallery.pixels
    if pixels is None:
        candidates = _synthetic_images()
    else:
        step = -(-len(pixels) // CANDIDATES)
        candidates = np.array(pixels[::step])
    images = torch.from_numpy(candidates).permute(0, 3, 1, 2)
    embeddings = bundle.network.representations(images, ("conv2", "logits"))
    probabilities, classes = embeddings["logits"].softmax(1).max(1)
    chosen = probabilities.argsort(descending=True)[:COUNT]
    vectors = embeddings["conv2"][chosen].numpy()
    _, nearest = bundle.indexes["conv2"].search(vectors, NEAREST, exact=True)
    return tuple(
        Query(
            pixels=candidates[position],
            png=to_png(candidates[position]),
            label=bundle.manifest.classes[int(classes[position])],
            nearest=frozenset(bundle.gallery.ids[neighbour] for neighbour in neighbours),
        )
        for position, neighbours in zip(chosen.tolist(), nearest, strict=True)
    )


def wrong_responses(
    responses: Sequence[Response], queries: Sequence[Query], task: Task
) -> list[Response]:
    """Return the responses without status 200, the right class, or the nearest images."""
    return [one for one in responses if not _is_right(one, queries[one.request_index], task)]


def to_png(pixels: Pixels) -> bytes:
    """Encode pixels, uint8 [height, width, 3], as a PNG file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _is_right(response: Response, query: Query, task: Task) -> bool:
    if response.status != HTTPStatus.OK:
        return False
    try:
        content = json.loads(response.body)
        (one,) = content if isinstance(content, list) else [content]  # batching peers send lists
        if one["predictions"][0]["label"] != query.label:
            return False
        if task == "class":
            return True
        found = {neighbour["id"] for neighbour in one["similar"]["conv2"]}
    except (LookupError, TypeError, ValueError):  # the body has another structure
        return False
    return len(query.nearest - found) <= MAX_MISSED


def _synthetic_images() -> Pixels:
    """Draw smooth colour gradients, uint8 [`CANDIDATES`, 32, 32, 3]."""
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (CANDIDATES, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in patches])

"""Real conv2 vectors of the search benchmark: embedded once and cached; queries; exact search.

Vectors are normalised and rounded to fp16 for all indexes. Those of the test split, which a bundle
has as its gallery, come first, then all other images. Queries are images outside the gallery, or
mirrored ones if the gallery has all images.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from training.bundle import Bundle, Positions, Vectors
from training.data import dataset
from training.data.dataset import NoImagesError
from training.data.splits import split
from training.embedding.embed import embed
from training.index.cosine import normalise
from training.models.families import WEIGHTS
from training.workflows.progress import track

QUERIES: Final = 1_000
NEAREST: Final = 10
CHUNK: Final = 2_500
"""Images embedded at once."""
ROWS: Final = 20_000
"""Vectors compared at once, which bounds the size of the fp32 copies."""


@dataclass(frozen=True)
class CachedVectors:
    """Files of unit vectors, fp16 [N, 8192]: all images; the last `QUERIES` of them, mirrored."""

    vectors: Path
    mirrored: Path

    def queries(self, count: int) -> Vectors:
        """Load queries for a gallery of the first `count` vectors, float32 [Q, 8192]."""
        stored = np.load(self.vectors, mmap_mode="r")
        held_out = stored[-QUERIES:] if count + QUERIES <= len(stored) else np.load(self.mirrored)
        return normalise(held_out)


def embed_or_load(data: Path, bundle: Bundle, cache: Path) -> CachedVectors:
    """Embed all images of a data set with the bundle's network, or use the cached vectors.

    Raises:
        DatasetError: the path has no usable data set.

    """
    weights = bundle.manifest.files[WEIGHTS].sha256
    key = f"{data.name.partition('.')[0]}-{weights[:12]}"
    found = CachedVectors(cache / f"conv2-{key}.npy", cache / f"conv2-{key}-mirrored.npy")
    if not (found.vectors.exists() and found.mirrored.exists()):
        cache.mkdir(parents=True, exist_ok=True)
        images = _all_images(data)
        _embed(bundle, images[-QUERIES:].flip(3), found.mirrored)
        _embed(bundle, images, found.vectors)
    return found


def exact_nearest(stored: Path, count: int, queries: Vectors) -> tuple[Vectors, Positions]:
    """Compare queries with the first `count` vectors; return cosines and positions, [Q, 10]."""
    vectors = np.load(stored, mmap_mode="r")[:count]
    targets = torch.from_numpy(queries)
    cosines = torch.empty(len(targets), 0)
    positions = torch.empty(len(targets), 0, dtype=torch.int64)
    for start in range(0, count, ROWS):
        chunk = torch.from_numpy(normalise(vectors[start : start + ROWS]))
        best, where = (targets @ chunk.T).topk(min(NEAREST, len(chunk)))
        cosines = torch.cat((cosines, best), 1)
        positions = torch.cat((positions, where + start), 1)
        cosines, kept = cosines.topk(min(NEAREST, cosines.shape[1]))
        positions = positions.gather(1, kept)
    return cosines.numpy(), positions.numpy()


def _all_images(data: Path) -> Tensor:
    """Load all images, uint8 [N, 3, 32, 32]: test split, other splits, published test images."""
    with track(f"reading {data.name}") as on_image:
        images = dataset.load(data, on_image=on_image)
        splits = split(images, 0)
        order = [splits.indices(name) for name in ("test", "validation", "train")]
        parts = [images.images[positions] for positions in order]
        with suppress(NoImagesError):
            parts.append(dataset.load(data, "test", on_image).images)
    return torch.cat(parts)


def _embed(bundle: Bundle, images: Tensor, file: Path) -> None:
    """Write the unit vectors of images to a file, atomically."""
    partial = file.with_suffix(".partial")
    shape = (len(images), bundle.indexes["conv2"].dimension)
    stored = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    with track("embedding", -(-len(images) // CHUNK)) as on_chunk:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            vectors = embed(bundle.network, chunk, ("conv2",), torch.device("cpu"))["conv2"]
            stored[start : start + CHUNK] = normalise(vectors)
            on_chunk()
    stored.flush()
    partial.replace(file)

"""What every peer answers with: the bundle's own network and index, called in batches.

Loaded through the same door as the service, decoded by the same code, at fp32 and channels-last.
Runs in the peers' environment, with as many threads as OMP_NUM_THREADS says: set from inside, they
would be set for the thread alone that sets them. Knows no server.
"""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import faiss
import numpy as np
import torch
from PIL import Image

from benchmarks.harness.workload import NEAREST, Task
from training.bundle import CosineIndex, Layer, Pixels, Vectors, load, to_pixels

Index = Literal["flat", "bundle"]
"""FAISS's flat index of the gallery's vectors, or the bundle's own index."""

BUNDLE: Final = "KINDRED_BENCH_BUNDLE"
TASK: Final = "KINDRED_BENCH_TASK"
INDEX: Final = "KINDRED_BENCH_INDEX"
"""The environment variables that say what a peer serves: not all of them take arguments."""
TOP_K: Final = 3
WORKERS: Final = 1
"""Processes in which a peer that batches runs the network; they share the cores evenly."""

Answer = dict[str, object]
"""The answer as JSON, with the fields that the service's own has."""


class PeerModel:
    """Classes of pictures, and where the task asks for them the nearest images at conv2."""

    def __init__(self, bundle: Path, task: Task, index: Index) -> None:
        opened = load(bundle)
        self._classes = opened.manifest.classes
        self._network = opened.network.to(memory_format=torch.channels_last)
        self._ids, self._labels = opened.gallery.ids, opened.gallery.labels
        self._index: CosineIndex | None = None
        if task == "conv2":
            own = opened.indexes["conv2"]
            self._index = own if index == "bundle" else flat(own)

    @classmethod
    def of_environment(cls) -> "PeerModel":
        """As the environment says."""
        task, index = os.environ[TASK], os.environ[INDEX]
        if task not in ("class", "conv2") or index not in ("flat", "bundle"):
            raise ValueError(f"{TASK}={task} and {INDEX}={index} are not known")
        return cls(Path(os.environ[BUNDLE]), task, index)  # type: ignore[arg-type]  # checked

    @torch.inference_mode()
    def answer(self, pictures: Sequence[bytes]) -> list[Answer]:
        """One answer a picture, from one run of the network and one search."""
        pixels = torch.from_numpy(np.stack([decode(picture) for picture in pictures]))
        layers: tuple[Layer, ...] = ("conv2", "logits") if self._index else ("logits",)
        found = self._network.representations(pixels.permute(0, 3, 1, 2), layers)
        probabilities = found["logits"].softmax(1)
        best = probabilities.topk(min(TOP_K, len(self._classes)))
        answers: list[Answer] = [
            {
                "predictions": [
                    {"label": self._classes[index], "index": index, "probability": probability}
                    for probability, index in zip(*row, strict=True)
                ]
            }
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        if self._index:
            cosines, positions = self._index.search(found["conv2"].numpy(), NEAREST)
            for answer, *row in zip(answers, cosines.tolist(), positions.tolist(), strict=True):
                answer["similar"] = {
                    "conv2": [self._neighbour(*one) for one in zip(*row, strict=True)]
                }
        return answers

    def _neighbour(self, cosine: float, position: int) -> Answer:
        label = self._classes[self._labels[position]]
        return {"id": self._ids[position], "label": label, "score": cosine}


def decode(picture: bytes) -> Pixels:
    """A picture's bytes as the network's input, uint8 [32, 32, 3]."""
    with Image.open(BytesIO(picture)) as image:
        return to_pixels(image)


def flat(index: CosineIndex) -> CosineIndex:
    """The same vectors, all of them looked at: what FAISS gives without further thought."""
    vectors: Vectors = index.reconstruct(np.arange(len(index)))
    found = faiss.IndexFlatIP(index.dimension)
    found.add(vectors)
    return CosineIndex(found, "Flat")

"""The model that every peer serves: the bundle's network and index, called in batches.

Loads the bundle and decodes images by the same code as the service; fp32 and channels-last. Runs in
the peers' environment. The number of threads comes from OMP_NUM_THREADS, because a number that is
set at run time holds only for the thread that sets it. Knows no server.
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
"""Environment variables that configure a peer, because not all peers take arguments."""
TOP_K: Final = 3
WORKERS: Final = 1
"""Processes in which a batching peer runs the network; they share the cores evenly."""

Prediction = dict[str, object]
"""A response as JSON, with the fields that the service has."""


class PeerModel:
    """Predicts the class of images and, if the task has it, the nearest images at conv2."""

    def __init__(self, bundle: Path, task: Task, index: Index) -> None:
        opened = load(bundle)
        self._classes = opened.manifest.classes
        self._network = opened.network.to(memory_format=torch.channels_last)
        self._ids, self._labels = opened.gallery.ids, opened.gallery.labels
        self._index: CosineIndex | None = None
        if task == "conv2":
            own = opened.indexes["conv2"]
            self._index = own if index == "bundle" else flat_index(own)

    @classmethod
    def from_environment(cls) -> "PeerModel":
        """Load the model that the environment variables name.

        Raises:
            ValueError: the task or the index is unknown.

        """
        task, index = os.environ[TASK], os.environ[INDEX]
        if task not in ("class", "conv2") or index not in ("flat", "bundle"):
            raise ValueError(f"unknown: {TASK}={task}, {INDEX}={index}")
        return cls(Path(os.environ[BUNDLE]), task, index)  # type: ignore[arg-type]  # checked

    @torch.inference_mode()
    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Run the network and the search once; return one prediction per image file."""
        pixels = torch.from_numpy(np.stack([decode(image) for image in images]))
        layers: tuple[Layer, ...] = ("conv2", "logits") if self._index else ("logits",)
        embeddings = self._network.representations(pixels.permute(0, 3, 1, 2), layers)
        probabilities = embeddings["logits"].softmax(1)
        best = probabilities.topk(min(TOP_K, len(self._classes)))
        predictions: list[Prediction] = [
            {
                "predictions": [
                    {"label": self._classes[index], "index": index, "probability": probability}
                    for probability, index in zip(*row, strict=True)
                ]
            }
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        if self._index:
            cosines, positions = self._index.search(embeddings["conv2"].numpy(), NEAREST)
            rows = zip(predictions, cosines.tolist(), positions.tolist(), strict=True)
            for prediction, *row in rows:
                prediction["similar"] = {
                    "conv2": [self._neighbour(*one) for one in zip(*row, strict=True)]
                }
        return predictions

    def _neighbour(self, cosine: float, position: int) -> Prediction:
        label = self._classes[self._labels[position]]
        return {"id": self._ids[position], "label": label, "score": cosine}


def decode(image: bytes) -> Pixels:
    """Decode an image file to the network's input, uint8 [32, 32, 3]."""
    with Image.open(BytesIO(image)) as opened:
        return to_pixels(opened)


def flat_index(index: CosineIndex) -> CosineIndex:
    """Build FAISS's flat index of the same vectors: the default choice without tuning."""
    vectors: Vectors = index.reconstruct(np.arange(len(index)))
    flat = faiss.IndexFlatIP(index.dimension)
    flat.add(vectors)
    return CosineIndex(flat)

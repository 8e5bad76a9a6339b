"""The network as the engine calls it: one small protocol, whatever runs it.

Knows arrays; nothing of queues, galleries or requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from service.vectors import Queries, in_memory
from training.bundle import SIZE, Layer, Pixels, PrecisionChoice, Vectors

LAYERS: Final[tuple[Layer, ...]] = ("conv2", "penultimate", "logits")
"""What a backend gives of each image."""

ServedPrecision = PrecisionChoice | Literal["int8"]
"""In which numbers a network may be asked to multiply."""


@dataclass(frozen=True)
class BatchOutput:
    """A batch at each of `LAYERS`, float32 [N, dimension], in arrays of its own.

    `novelty` is [N], and None where the bundle does not say what is familiar. `tensors` are the
    same vectors where the network has left them, if that is not where `layers` are.
    """

    layers: Mapping[Layer, Vectors]
    novelty: Vectors | None
    tensors: Mapping[Layer, Tensor] | None = None

    def queries(self, layer: Layer, rows: Sequence[int]) -> Queries:
        """Some images at a layer, wherever their vectors are by now."""
        if self.tensors is None:
            return self.layers[layer][rows]
        return self.tensors[layer][list(rows)]


class OutputView(Mapping[Layer, Vectors]):
    """One image of a batch, [dimension] at each layer."""

    def __init__(self, layers: Mapping[Layer, Vectors], row: int) -> None:
        self._layers = layers
        self._row = row

    def __getitem__(self, layer: Layer) -> Vectors:
        vector: Vectors = self._layers[layer][self._row]
        return vector

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class LazyArrays(Mapping[Layer, Vectors]):
    """Tensors on a device as arrays in memory; each comes over when it is first asked for.

    Those at `conv2` are long, and most requests have no use for them once they are searched by.
    """

    def __init__(self, tensors: Mapping[Layer, Tensor]) -> None:
        self._tensors = tensors
        self._arrays: dict[Layer, Vectors] = {}

    def __getitem__(self, layer: Layer) -> Vectors:
        if layer not in self._arrays:
            self._arrays[layer] = in_memory(self._tensors[layer])
        return self._arrays[layer]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class Backend(Protocol):
    """One network on one device. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """What runs the network, where, and how precisely; for people."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Get ready for batches of up to so many images, in the thread that will run them.

        Returns the length of each layer's vectors.
        """

    def run(self, images: Pixels) -> BatchOutput:
        """Represent uint8 [N, 3, 32, 32]; cheapest where the channels are last in memory."""


def channels_first(images: Pixels) -> Pixels:
    """Pictures [N, 32, 32, 3] as a network takes them, [N, 3, 32, 32]; nothing is copied."""
    return images.transpose(0, 3, 1, 2)


def zeros(count: int) -> Pixels:
    """So many black images [N, 3, 32, 32]."""
    return channels_first(np.zeros((count, SIZE, SIZE, 3), np.uint8))


def warm_up(backend: Backend, sizes: Sequence[int]) -> dict[Layer, int]:
    """Run a batch of each size once, since first times are slow; the length of each layer."""
    for size in sizes:
        found = backend.run(zeros(size))
    return {layer: vectors.shape[1] for layer, vectors in found.layers.items()}


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """Powers of two below `max_batch`, and that."""
    powers = (2**power for power in range((max_batch - 1).bit_length()))
    return (*powers, max_batch)

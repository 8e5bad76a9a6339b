"""The network as the engine calls it: one small protocol, whatever runs it.

Knows arrays; nothing of queues, galleries or requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from training.bundle import SIZE, Layer, Pixels, PrecisionChoice, Vectors

LAYERS: Final[tuple[Layer, ...]] = ("conv2", "penultimate", "logits")
"""What a backend gives of each image."""
ServedPrecision = PrecisionChoice | Literal["int8"]
"""In which numbers a network may be asked to multiply."""


@dataclass(frozen=True)
class Found:
    """A batch at each of `LAYERS`, float32 [N, dimension], in arrays of its own.

    `novelty` is [N], and None where the bundle does not say what is familiar.
    """

    layers: Mapping[Layer, Vectors]
    novelty: Vectors | None


class Backend(Protocol):
    """One network on one device. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """What runs the network, where, and how precisely; for people."""

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Get ready for batches of up to so many images, in the thread that will run them.

        Returns the length of each layer's vectors.
        """

    def run(self, images: Pixels) -> Found:
        """Represent uint8 [N, 3, 32, 32]; cheapest where the channels are last in memory."""


def channels_first(images: Pixels) -> Pixels:
    """Pictures [N, 32, 32, 3] as a network takes them, [N, 3, 32, 32]; nothing is copied."""
    return images.transpose(0, 3, 1, 2)


def blank(count: int) -> Pixels:
    """So many black images [N, 3, 32, 32]."""
    return channels_first(np.zeros((count, SIZE, SIZE, 3), np.uint8))


def warm_up(backend: Backend, sizes: Sequence[int]) -> dict[Layer, int]:
    """Run a batch of each size once, since first times are slow; the length of each layer."""
    for size in sizes:
        found = backend.run(blank(size))
    return {layer: vectors.shape[1] for layer, vectors in found.layers.items()}


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """Powers of two below `max_batch`, and that."""
    powers = (2**power for power in range((max_batch - 1).bit_length()))
    return (*powers, max_batch)

"""The protocol by which the engine runs a network on some runtime and device.

Knows arrays; nothing of queues, galleries or requests.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from service.vectors import Queries
from training.bundle import Layer, NetworkSpec, Pixels, PrecisionChoice, Projection, Vectors

if TYPE_CHECKING:  # imported where PyTorch runs something
    from torch import Tensor

ServedPrecision = PrecisionChoice | Literal["int8"]
"""The precision of multiplications that a setting may name."""


@dataclass(frozen=True)
class BatchOutput:
    """A batch at each served layer, float32 [N, dimension]; later batches do not overwrite it.

    It also has the further layers that were asked for.

    `novelty` is [N], or None if the bundle has no statistics of it or if it was not asked for.
    `tensors` are the same vectors
    on the device, or None if `layers` are the only copy.
    """

    layers: Mapping[Layer, Vectors]
    novelty: Vectors | None
    tensors: "Mapping[Layer, Tensor] | None" = None

    def queries(self, layer: Layer, rows: Sequence[int]) -> Queries:
        """Return the vectors of some images, on the device if they are there."""
        if self.tensors is None:
            return self.layers[layer][rows]
        return self.tensors[layer][list(rows)]


class OutputView(Mapping[Layer, Vectors]):
    """One image of a batch: a view [dimension] of each layer."""

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


class Backend(Protocol):
    """A network on a device. Not thread-safe."""

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""

    @property
    def name(self) -> str:
        """The runtime, precision and device, as text for display."""

    @property
    def device(self) -> str:
        """The device that the network runs on: `cpu` or `cuda:0`."""

    def prepare(self, max_batch_size: int) -> dict[Layer, int]:
        """Prepare for batches of up to `max_batch_size` images; return each layer's dimension.

        Called in the thread that calls `run`, and again after that thread has died.
        """

    def run(
        self, images: Pixels, *, with_novelty: bool = True, further: Collection[Layer] = ()
    ) -> BatchOutput:
        """Embed uint8 [N, 3, side, side]; fastest if the channels are last in memory.

        Args:
            images: of the side that `spec` names.
            with_novelty: whether to compute the novelty of each image.
            further: layers to return beside the served ones; the others are not computed.

        """

    def project(self, projection: Projection, vectors: Vectors) -> Vectors:
        """Project vectors [N, dimension] for a search. One thread at a time, beside `run`."""
        return projection.project(vectors)

    def close(self) -> None:
        """Release the network; the backend is not used any more."""


def channels_first(images: Pixels) -> Pixels:
    """Return a view [N, 3, H, W] of images [N, H, W, 3]."""
    return images.transpose(0, 3, 1, 2)


def zeros(count: int, side: int) -> Pixels:
    """Return `count` black images, uint8 [N, 3, side, side]."""
    return channels_first(np.zeros((count, side, side, 3), np.uint8))


def warm_up(backend: Backend, sizes: Sequence[int]) -> dict[Layer, int]:
    """Run a batch of each size once, since the first is slow; return each layer's dimension."""
    for size in sizes:
        found = backend.run(zeros(size, backend.spec.side))
    return {layer: vectors.shape[1] for layer, vectors in found.layers.items()}


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Return the powers of two below `max_batch_size`, and `max_batch_size`."""
    powers = (2**power for power in range((max_batch_size - 1).bit_length()))
    return (*powers, max_batch_size)

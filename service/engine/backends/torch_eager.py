"""Runs the network by PyTorch, eagerly, on any device. Knows arrays only."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from service.engine.backends.base import Backend, BatchOutput, batch_sizes, warm_up
from service.vectors import in_memory
from training.bundle import Layer, NetworkSpec, Novelty, Pixels, Precision, Vectors
from training.bundle.network import Network, NoveltyModule, autocast

DEFAULT_THREADS: Final = torch.get_num_threads()
"""PyTorch's own choice of CPU threads, read before a backend changes it."""

TensorOutput = tuple[dict[Layer, Tensor], Tensor | None]
"""A batch at each layer, and its novelty, on the device."""


class LazyArrays(Mapping[Layer, Vectors]):
    """Tensors on a device as arrays in memory, each copied at its first access.

    The vectors of some layers are long, and few responses need them after the search.
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


class TorchEager(Backend):
    """A network and its `NoveltyModule`, called eagerly."""

    def __init__(
        self,
        network: Network,
        novelty: Novelty | None = None,
        spec: NetworkSpec | None = None,
        *,
        device: str,
        precision: Precision = "fp32",
        intra_op_threads: int | None = None,
    ) -> None:
        """Take ownership of a network in evaluation mode and of its novelty model.

        Args:
            network: the network to run.
            novelty: the novelty model of this network.
            spec: its input and its layers, if not as the network says.
            device: the device to run on.
            precision: of multiplications; weights stay fp32.
            intra_op_threads: CPU threads; None leaves the choice to PyTorch.

        """
        self._device = torch.device(device)
        self._name = f"torch, {precision}, {device}"
        self._network = network
        self._spec = spec or network.spec
        self._novelty = None if novelty is None else NoveltyModule(novelty)
        self._precision = precision
        self._intra_op_threads = intra_op_threads

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""
        return self._spec

    @property
    def name(self) -> str:
        """The runtime, precision and device."""
        return self._name

    @property
    def device(self) -> str:
        """The device that the network runs on."""
        return str(self._device)

    def prepare(self, max_batch_size: int) -> dict[Layer, int]:
        """Move the network to the device, and warm up all batch sizes."""
        # Always set it: another backend of this process may have changed it.
        torch.set_num_threads(self._intra_op_threads or DEFAULT_THREADS)
        self._network.to(self._device).to(memory_format=torch.channels_last)
        if self._novelty is not None:
            self._novelty.to(self._device)
        return warm_up(self, batch_sizes(max_batch_size))

    @torch.inference_mode()
    def run(
        self, images: Pixels, *, with_novelty: bool = True, further: Collection[Layer] = ()
    ) -> BatchOutput:
        """Embed uint8 [N, 3, side, side]; logits and novelty are in memory when this returns.

        The novelty is computed in any case: beside PyTorch's network it costs little.
        """
        # A transposed [N, H, W, C] array is channels_last to PyTorch: no copy.
        tensors, novelty = self._compute(torch.from_numpy(images))
        tensors = {layer: tensors[layer] for layer in (*self._spec.served, *further)}
        scores = in_memory(novelty) if with_novelty and novelty is not None else None
        layers = LazyArrays(tensors)
        if self._device.type == "cpu":
            return BatchOutput({layer: layers[layer] for layer in tensors}, scores)
        if self._spec.classes:
            layers[self._spec.classes]  # copy them now: every response needs them
        return BatchOutput(layers, scores, tensors)

    def close(self) -> None:
        """Release the network."""
        del self._network, self._novelty

    def _compute(self, images: Tensor) -> TensorOutput:
        """Embed uint8 [N, 3, side, side] from memory; later calls do not overwrite the result."""
        return self._embed(images.to(self._device))

    def _embed(self, images: Tensor) -> TensorOutput:
        with autocast(self._device, self._precision):
            layers = (*self._spec.served, *self._spec.unserved)
            found = self._network.representations(images, layers)
        texture, penultimate = self._spec.novelty
        novelty = self._novelty(found[texture], found[penultimate]) if self._novelty else None
        return found, novelty

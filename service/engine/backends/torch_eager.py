"""Runs the network by PyTorch, eagerly, on any device. Knows arrays only."""

from typing import Final

import torch
from torch import Tensor

from service.engine.backends.base import LAYERS, BatchOutput, LazyArrays, batch_sizes, warm_up
from service.vectors import in_memory
from training.bundle import BlockNet, Layer, Novelty, Pixels, Precision, autocast

DEFAULT_THREADS: Final = torch.get_num_threads()
"""PyTorch's own choice of CPU threads, read before a backend changes it."""

TensorOutput = tuple[dict[Layer, Tensor], Tensor | None]
"""A batch at each layer, and its novelty, on the device."""


class TorchEager:
    """`BlockNet` and `Novelty`, called eagerly."""

    def __init__(
        self,
        network: BlockNet,
        novelty: Novelty | None = None,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        intra_op_threads: int | None = None,
    ) -> None:
        """Take ownership of a network in evaluation mode and of its novelty model.

        Args:
            network: the network to run.
            novelty: the novelty model of this network.
            device: the device to run on.
            precision: of multiplications; weights stay fp32.
            intra_op_threads: CPU threads; None leaves the choice to PyTorch.

        """
        self.name = f"torch, {precision}, {device}"
        self.device = device
        self._network = network
        self._novelty = novelty
        self._precision = precision
        self._intra_op_threads = intra_op_threads

    def prepare(self, max_batch_size: int) -> dict[Layer, int]:
        """Move the network to the device, and warm up all batch sizes."""
        # Always set it: another backend of this process may have changed it.
        torch.set_num_threads(self._intra_op_threads or DEFAULT_THREADS)
        self._network.to(self.device).to(memory_format=torch.channels_last)
        if self._novelty is not None:
            self._novelty.to(self.device)
        return warm_up(self, batch_sizes(max_batch_size))

    @torch.inference_mode()
    def run(self, images: Pixels) -> BatchOutput:
        """Embed uint8 [N, 3, 32, 32]; logits and novelty are in memory when this returns."""
        # A transposed [N, H, W, C] array is channels_last to PyTorch: no copy.
        tensors, novelty = self._compute(torch.from_numpy(images))
        scores = None if novelty is None else in_memory(novelty)
        layers = LazyArrays(tensors)
        if self.device.type == "cpu":
            return BatchOutput({layer: layers[layer] for layer in LAYERS}, scores)
        layers["logits"]  # copy them now: every response needs them
        return BatchOutput(layers, scores, tensors)

    def _compute(self, images: Tensor) -> TensorOutput:
        """Embed uint8 [N, 3, 32, 32] from memory; later calls do not overwrite the result."""
        return self._embed(images.to(self.device))

    def _embed(self, images: Tensor) -> TensorOutput:
        with autocast(self.device, self._precision):
            found = self._network.representations(images, LAYERS)
        novelty = self._novelty(found["conv2"], found["penultimate"]) if self._novelty else None
        return found, novelty

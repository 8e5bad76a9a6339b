"""The network in torch, as it is written, on a CPU or any other device. Knows arrays alone."""

from typing import Final

import torch
from torch import Tensor

from service.engine.backends.base import LAYERS, BatchOutput, LazyArrays, batch_sizes, warm_up
from service.vectors import in_memory
from training.bundle import BlockNet, Layer, Novelty, Pixels, Precision, autocast

PLATFORM_DTYPE: Final = torch.get_num_threads()
"""Threads that torch takes where nobody says how many: as many as there are cores, or fewer."""

TensorOutput = tuple[dict[Layer, Tensor], Tensor | None]
"""What a batch is at each layer, and its novelty, on the device."""


class TorchEager:
    """`BlockNet` and `Novelty`, called."""

    def __init__(
        self,
        network: BlockNet,
        novelty: Novelty | None = None,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> None:
        """Take a network in evaluation mode, and what is familiar to it; both are this one's now.

        Args:
            network: what is run.
            novelty: of this network.
            device: where it runs.
            precision: of the multiplications; the weights stay fp32.
            threads: of torch on a CPU; its own choice where None.

        """
        self.device = device
        self._network = network
        self._novelty = novelty
        self._precision = precision
        self._threads = threads

    @property
    def name(self) -> str:
        """What runs it."""
        return f"torch, {self._precision}, {self.device}"

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Move everything to the device, and run each power of two once: first times are slow."""
        # always: it is that of new threads too, and another backend may have had its own before
        torch.set_num_threads(self._threads or PLATFORM_DTYPE)
        self._network.to(self.device).to(memory_format=torch.channels_last)
        if self._novelty is not None:
            self._novelty.to(self.device)
        return warm_up(self, batch_sizes(max_batch))

    @torch.inference_mode()
    def run(self, images: Pixels) -> BatchOutput:
        """Represent uint8 [N, 3, 32, 32]; what is short has come over when this returns."""
        # Height, width, channels in memory is what torch calls channels last: nothing is copied.
        tensors, novelty = self._compute(torch.from_numpy(images))
        seen = None if novelty is None else in_memory(novelty)
        layers = LazyArrays(tensors)
        if self.device.type == "cpu":
            return BatchOutput({layer: layers[layer] for layer in LAYERS}, seen)
        layers["logits"]  # everyone will ask for it
        return BatchOutput(layers, seen, tensors)

    def _compute(self, images: Tensor) -> TensorOutput:
        """The same of uint8 [N, 3, 32, 32] in memory, in tensors of their own on the device."""
        return self._embed(images.to(self.device))

    def _embed(self, images: Tensor) -> TensorOutput:
        with autocast(self.device, self._precision):
            found = self._network.representations(images, LAYERS)
        novelty = self._novelty(found["conv2"], found["penultimate"]) if self._novelty else None
        return found, novelty

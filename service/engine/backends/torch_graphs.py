"""Runs the network by PyTorch on a GPU as CUDA graphs: one launch per batch instead of fifty.

A graph has one batch size. A batch is padded with black images to the next size that has a graph.
Knows arrays only.
"""

import threading
from typing import Final

import torch
from torch import Tensor

from service.engine.backends.base import batch_sizes
from service.engine.backends.torch_eager import TensorOutput, TorchEager
from training.bundle import Layer

CAPTURE_LOCK: Final = threading.Lock()
"""Serializes captures: the start of one synchronizes the device, which breaks any other."""


class Graph:
    """A captured batch of one size, with its fixed input and output tensors."""

    def __init__(self, images: Tensor, computed: TensorOutput, graph: torch.cuda.CUDAGraph) -> None:
        self._images = images
        self._computed = computed
        self._graph = graph

    def run(self, images: Tensor) -> TensorOutput:
        """Embed up to as many images as were captured; later runs do not overwrite the result."""
        count = len(images)
        self._images[:count].copy_(images)
        self._images[count:].zero_()
        self._graph.replay()
        tensors, novelty = self._computed
        kept = {layer: tensor[:count].clone() for layer, tensor in tensors.items()}
        return kept, None if novelty is None else novelty[:count].clone()


class TorchGraphs(TorchEager):
    """A network and its `NoveltyModule`, captured once for each batch size and replayed."""

    def prepare(self, max_batch_size: int) -> dict[Layer, int]:
        """Run all batch sizes eagerly, as capture requires, then capture them."""
        self._graphs: dict[int, Graph] = {}
        with torch.cuda.device(self._device), CAPTURE_LOCK:
            super().prepare(max_batch_size)
            self._pool = torch.cuda.graph_pool_handle()  # shared, since graphs run one at a time
            self._stream = torch.cuda.Stream()
            # The largest first: smaller graphs reuse its memory.
            for size in reversed(batch_sizes(max_batch_size)):
                self._graphs[size] = self._capture(size)
        return super().prepare(max_batch_size)

    def close(self) -> None:
        """Release the network and its graphs."""
        self._graphs = {}
        super().close()

    def _compute(self, images: Tensor) -> TensorOutput:
        fitting = [size for size in self._graphs if size >= len(images)]
        if not fitting:
            return super()._compute(images)
        with torch.cuda.device(self._device):
            return self._graphs[min(fitting)].run(images)

    @torch.inference_mode()
    def _capture(self, size: int) -> Graph:
        shape = (size, 3, self.spec.side, self.spec.side)
        images = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        images = images.to(memory_format=torch.channels_last)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._embed(images)
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # at a reload, another thread still runs the old network
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            computed = self._embed(images)
        return Graph(images, computed, graph)

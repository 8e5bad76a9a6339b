"""The network in torch on a GPU, as CUDA graphs: one launch a batch in place of some fifty.

A graph is of one batch size. A batch is run by that of the next power of two, with black images
behind its own. Knows arrays alone.
"""

import threading
from typing import Final

import torch
from torch import Tensor

from service.engine.backends.base import batch_sizes
from service.engine.backends.torch_eager import TensorOutput, TorchEager
from training.bundle import SIZE, Layer

CAPTURE_LOCK: Final = threading.Lock()
"""One at a time: to begin waits for the whole device, which no capture survives."""


class Graph:
    """A network's batch of one size, captured; what it reads and writes stays where it is."""

    def __init__(self, images: Tensor, computed: TensorOutput, graph: torch.cuda.CUDAGraph) -> None:
        self._images = images
        self._computed = computed
        self._graph = graph

    def run(self, images: Tensor) -> TensorOutput:
        """The same of up to so many images, in tensors that the next run leaves alone."""
        count = len(images)
        self._images[:count].copy_(images)
        self._images[count:].zero_()
        self._graph.replay()
        tensors, novelty = self._computed
        kept = {layer: tensor[:count].clone() for layer, tensor in tensors.items()}
        return kept, None if novelty is None else novelty[:count].clone()


class TorchGraphs(TorchEager):
    """`BlockNet` and `Novelty`, captured once for each batch size and replayed."""

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Run each power of two as it is written, which capturing demands, and capture it."""
        self._graphs: dict[int, Graph] = {}
        with torch.cuda.device(self.device), CAPTURE_LOCK:
            super().prepare(max_batch)
            self._pool = torch.cuda.graph_pool_handle()  # shared: graphs are run one at a time
            self._stream = torch.cuda.Stream()
            for size in reversed(batch_sizes(max_batch)):  # what is smaller fits where it lay
                self._graphs[size] = self._capture(size)
        return super().prepare(max_batch)

    def _compute(self, images: Tensor) -> TensorOutput:
        fitting = [size for size in self._graphs if size >= len(images)]
        if not fitting:
            return super()._compute(images)
        with torch.cuda.device(self.device):
            return self._graphs[min(fitting)].run(images)

    @torch.inference_mode()
    def _capture(self, size: int) -> Graph:
        shape = (size, 3, SIZE, SIZE)
        images = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        images = images.to(memory_format=torch.channels_last)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._embed(images)
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # of this thread alone: at a reload, the bundle before is served by another meanwhile
        mode = "thread_local"
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            computed = self._embed(images)
        return Graph(images, computed, graph)

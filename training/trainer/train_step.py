"""One training step: eagerly, or as a CUDA graph, which spares the GPU its thousand small launches.

Knows a network, its images and its optimizer; nothing of epochs, schedules or records.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.data.tensors import LabelledTensors
from training.experiments.config import Config, Policy
from training.models.blocknet import BlockNet
from training.models.device import Precision, autocast
from training.trainer.augmentation import apply_cutmix, augment
from training.trainer.optimizers import optimizers

WARMUP_STEPS = 3


class Step:
    """Takes the positions of a batch and trains on those images.

    `running_metrics` adds up the loss and the number of hits, over images. It stays on the device:
    nothing here waits for it. A hit in a mixed image is the label of the image that it was.
    """

    def __init__(
        self,
        network: BlockNet,
        training: LabelledTensors,
        config: Config,
        precision: Precision,
        policy: Policy | None,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.optimizers = optimizers(network, config)
        self.running_metrics = torch.zeros(2, device=training.labels.device)
        self._training = training
        self._smoothing = config.label_smoothing
        self._precision = precision
        self._policy = policy
        self._generator = generator

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.running_metrics.device

    def __call__(self, batch: Tensor) -> None:
        """Train on the images at these positions, int64 [N], on the device."""
        images, labels = self._training.images[batch], self._training.labels[batch]
        mixing = self._policy.cutmix if self._policy else 0.0
        if self._policy:
            images = augment(images, self._generator, self._policy)
        if mixing:
            images, own = apply_cutmix(images, self._generator, mixing)
        with autocast(self.device, self._precision):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        if mixing:
            each = self._losses(logits, labels), self._losses(logits, labels.roll(1))
            loss = (own * each[0] + (1 - own) * each[1]).mean()
        else:
            loss = self._losses(logits, labels).mean()
        self.network.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        hits = (logits.argmax(1) == labels).sum()
        self.running_metrics += torch.stack((loss.detach() * len(batch), hits))

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, labels, label_smoothing=self._smoothing, reduction="none"
        )

    def set_learning_rate(self, rate: float) -> None:
        """For the steps that follow."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)  # in place: a captured graph reads it there
                else:
                    group["lr"] = rate

    def warm_up(self, lengths: list[int]) -> None:
        """A few steps with batches of these lengths, all undone but what they leave in caches.

        Random states are the caller's to reset.
        """
        before = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        for length in lengths:
            for _ in range(WARMUP_STEPS):
                Step.__call__(self, torch.arange(length, device=self.device))
        for name, tensor in self.network.state_dict().items():
            tensor.copy_(before[name])
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()  # so all of them begin
        self.running_metrics.zero_()


class GraphedStep(Step):
    """The same step, captured once for each batch length and replayed from then on."""

    def warm_up(self, lengths: list[int]) -> None:
        """Warm up beside the main stream, as capturing demands, then capture."""
        with torch.cuda.device(self.device):  # where a graph's own stream is made
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                super().warm_up(lengths)
            torch.cuda.current_stream().wait_stream(stream)
            self._graphs = {length: self._capture(length) for length in lengths}

    def __call__(self, batch: Tensor) -> None:
        """Train on the images at these positions, by replaying the graph of that length."""
        positions, graph = self._graphs[len(batch)]
        positions.copy_(batch)
        graph.replay()

    def _capture(self, length: int) -> tuple[Tensor, torch.cuda.CUDAGraph]:
        positions = torch.arange(length, device=self.device)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # or drawing from it cannot be captured
        with torch.cuda.graph(graph):
            super().__call__(positions)
        return positions, graph


def step_for(config: Config) -> type[Step]:
    """The kind of step that the settings ask for."""
    return GraphedStep if config.cuda_graph else Step

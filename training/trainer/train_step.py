"""One training step, eager or as a CUDA graph, which replaces about 1,000 kernel launches by one.

Knows a network, its images and its optimizers; nothing of epochs, schedules or records.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.data.tensors import LabelledTensors
from training.experiments.config import Config, Policy
from training.models.device import autocast
from training.models.network import Network
from training.models.precision import Precision
from training.trainer.augmentation import apply_cutmix, augment
from training.trainer.optimizers import build_optimizers

WARMUP_STEPS = 3
"""Steps per batch length, before the clock starts."""


class Step:
    """Trains on one batch, given the positions of its images.

    `running_metrics` is the sum of the losses and the number of correct predictions, over images.
    It stays on the device, so no step waits for it. For an image with a CutMix box, its own label
    is the correct one.
    """

    def __init__(
        self,
        network: Network,
        training: LabelledTensors,
        config: Config,
        precision: Precision,
        policy: Policy | None,
        generator: torch.Generator,
        teacher: Network | None = None,
    ) -> None:
        self.network = network
        self.optimizers = build_optimizers(network, config)
        self.running_metrics = torch.zeros(2, device=training.labels.device)
        self._training = training
        self._smoothing = config.label_smoothing
        self._precision = precision
        self._policy = policy
        self._generator = generator
        self._distillation = config.distillation
        self._teacher = teacher

    @property
    def device(self) -> torch.device:
        """Device of the network and the images."""
        return self.running_metrics.device

    def __call__(self, batch: Tensor) -> None:
        """Train on the images at these positions, int64 [N] on the device."""
        images, labels = self._training.images[batch], self._training.labels[batch]
        mixing = self._policy.cutmix if self._policy else 0.0
        if self._policy:
            images = augment(images, self._generator, self._policy)
        if mixing:
            images, own = apply_cutmix(images, self._generator, mixing)
        with autocast(self.device, self._precision):
            logits = self.network(_channels_last(images)).float()
        if mixing:
            own_loss, pasted_loss = (self._losses(logits, one) for one in (labels, labels.roll(1)))
            loss = (own * own_loss + (1 - own) * pasted_loss).mean()
        else:
            loss = self._losses(logits, labels).mean()
        if self._teacher and (taught := self._distillation):
            loss = (1 - taught.weight) * loss + taught.weight * self._teaching(
                images, logits, self._teacher, taught.temperature
            )
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

    def _teaching(
        self, images: Tensor, logits: Tensor, teacher: Network, temperature: float
    ) -> Tensor:
        """Return the cross entropy to the teacher's softened probabilities, times T squared."""
        with torch.no_grad(), autocast(self.device, self._precision):
            outputs = teacher(_channels_last(images))
        softened = (outputs.float() / temperature).softmax(1)
        return functional.cross_entropy(logits / temperature, softened) * temperature**2

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)  # in place, where a captured graph reads it
                else:
                    group["lr"] = rate

    def warm_up(self, lengths: list[int]) -> None:
        """Run a few steps with batches of these lengths, then restore weights and optimizers.

        Caches stay warm. The caller resets the random states.
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
                    tensor.zero_()  # the initial state of each optimizer here
        self.running_metrics.zero_()


def _channels_last(images: Tensor) -> Tensor:
    """Return images with their channels last in memory; features are returned as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


class GraphedStep(Step):
    """The same step as a CUDA graph, captured once for each batch length."""

    def warm_up(self, lengths: list[int]) -> None:
        """Warm up on a side stream, which capturing requires, then capture the graphs."""
        with torch.cuda.device(self.device):  # on which a graph creates its stream
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                super().warm_up(lengths)
            torch.cuda.current_stream().wait_stream(stream)
            self._graphs = {length: self._capture(length) for length in lengths}

    def __call__(self, batch: Tensor) -> None:
        """Train on the images at these positions by replaying the graph of that length."""
        positions, graph = self._graphs[len(batch)]
        positions.copy_(batch)
        graph.replay()

    def _capture(self, length: int) -> tuple[Tensor, torch.cuda.CUDAGraph]:
        positions = torch.arange(length, device=self.device)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # needed to capture random draws
        with torch.cuda.graph(graph):
            super().__call__(positions)
        return positions, graph


def step_for(config: Config) -> type[Step]:
    """Return the class of step that the settings need: graphed or eager."""
    return GraphedStep if config.cuda_graph else Step

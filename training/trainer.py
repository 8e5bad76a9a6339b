"""`fit` and `evaluate`: how a network is trained and how its accuracy is counted.

The whole data set lies on the device as uint8; batches are gathered, augmented and scaled there,
and the loop never waits for the device inside an epoch. What that gives on which machine stands in
the `timing` and `environment` of each record in `experiments/`.

Knows tensors; nothing of files or of experiments' names.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.augmentation import augment
from training.device import Precision, autocast, pick_precision, synchronize
from training.environment import peak_memory_bytes
from training.experiments import Config
from training.network import LAYERS, BlockNet
from training.record import Diagnostics, Epoch, Evaluation, Seeds, Timing, wilson95

EVALUATION_BATCH = 500
WARMUP_STEPS = 3
DIAGNOSTIC_IMAGES = 1000
COLLAPSE_MARGIN = 0.01
"""A training loss no further below ln(classes), that of a blind guess, is no learning at all."""


class DivergedError(RuntimeError):
    """The loss is no number any more; the message says since when."""


@dataclass(frozen=True)
class Labelled:
    """Images uint8 [N, 3, 32, 32] and labels int64 [N], on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Fit:
    """What training left behind, beside the network's new weights."""

    curves: tuple[Epoch, ...]
    timing: Timing


def fit(
    network: BlockNet,
    training: Labelled,
    validation: Labelled | None,
    config: Config,
    seeds: Seeds,
    *,
    augmentation: bool,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fit:
    """Train `network` in place, on the device of `training`.

    Seconds exclude set-up (moving, optimizer) and warm-up (a few steps on a throwaway copy), and
    are read after the device has finished. The caller's random state is left as it was.

    Raises:
        DivergedError: the loss became infinite or not a number.

    """
    device = training.images.device
    precision = pick_precision(config.precision, device)
    started = time.perf_counter()
    network.to(device).to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(seeds.order)
    flips_and_crops = torch.Generator(device).manual_seed(seeds.augment)
    optimizer = _optimizer(network, config)
    setup = time.perf_counter() - started

    def step(network: BlockNet, optimizer: torch.optim.Optimizer, batch: Tensor) -> Tensor:
        """One step; returns the sum of the losses and the number of hits, on the device."""
        images, labels = training.images[batch], training.labels[batch]
        if augmentation:
            images = augment(images, flips_and_crops)
        with autocast(device, precision):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(
            logits.float(), labels, label_smoothing=config.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hits = (logits.argmax(1) == labels).sum()
        return torch.stack((loss.detach() * len(batch), hits))

    with torch.random.fork_rng():
        started = time.perf_counter()
        rehearsal = copy.deepcopy(network).train()
        rehearsed = _optimizer(rehearsal, config)
        for _ in range(WARMUP_STEPS):
            step(rehearsal, rehearsed, torch.arange(min(config.batch_size, len(training))))
        flips_and_crops.manual_seed(seeds.augment)
        torch.manual_seed(seeds.order)  # dropout draws from the default generator
        synchronize(device)
        warmup = time.perf_counter() - started

        curves: list[Epoch] = []
        evaluating = 0.0
        for number in range(1, config.epochs + 1):
            network.train()
            started = time.perf_counter()
            totals = torch.zeros(2, device=device)
            shuffled = torch.randperm(len(training), generator=order).to(device)
            for batch in shuffled.split(config.batch_size):
                totals += step(network, optimizer, batch)
                on_step()
            loss, hits = totals.tolist()  # waits for the device
            seconds = time.perf_counter() - started
            if not math.isfinite(loss):
                raise DivergedError(f"the training loss is {loss} in epoch {number}")

            started = time.perf_counter()
            held_out = evaluate(network, validation, precision) if validation else None
            evaluating += time.perf_counter() - started
            epoch = Epoch(
                epoch=number,
                train_loss=loss / len(training),
                train_accuracy=hits / len(training),
                validation_loss=held_out.loss if held_out else None,
                validation_accuracy=held_out.accuracy if held_out else None,
                seconds=seconds,
            )
            curves.append(epoch)
            on_epoch(epoch)

    train = sum(epoch.seconds for epoch in curves)
    timing = Timing(
        setup=setup,
        warmup=warmup,
        train=train,
        evaluate=evaluating,
        images_per_second=config.epochs * len(training) / train,
        peak_memory_bytes=peak_memory_bytes(device),
    )
    return Fit(tuple(curves), timing)


@torch.inference_mode()
def evaluate(network: BlockNet, held_out: Labelled, precision: Precision = "fp32") -> Evaluation:
    """Loss and accuracy over images never augmented, each image counting once."""
    network.eval()
    device = held_out.images.device
    classes = network.architecture.classes
    loss = torch.zeros((), device=device, dtype=torch.float64)
    confusion = torch.zeros(classes * classes, device=device, dtype=torch.int64)
    for images, labels in _batches(held_out):
        with autocast(device, precision):
            logits = network(images)
        loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
        confusion += torch.bincount(
            labels * classes + logits.argmax(1), minlength=classes * classes
        )
    matrix = confusion.view(classes, classes).cpu()
    correct = int(matrix.diagonal().sum())
    return Evaluation(
        count=len(held_out),
        loss=loss.item() / len(held_out),
        accuracy=correct / len(held_out),
        wilson95=wilson95(correct, len(held_out)),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
    )


@torch.inference_mode()
def diagnose(network: BlockNet, sample: Labelled) -> Diagnostics:
    """Whether the network's parts still answer to its input, over up to 1,000 images.

    A unit is dead that no image moves: after its ReLU it is 0 for all of them. `logit_std` is the
    spread of a logit from image to image, averaged over classes.
    """
    network.eval()
    images = sample.images[:DIAGNOSTIC_IMAGES]
    highest: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = output.amax(0)
            highest[name] = torch.maximum(highest[name], seen) if name in highest else seen

        return keep

    # Dropout is the identity here, so what the hidden layers put out is what their ReLU takes in.
    watched: dict[str, nn.Module] = {"hidden1": network.hidden1, "penultimate": network.hidden2}
    for name, block in zip(LAYERS, network.blocks, strict=False):
        watched[name] = block.get_submodule("pool")  # after the second ReLU
    hooks = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    try:
        logits = torch.cat([network(batch) for batch in images.split(EVALUATION_BATCH)])
    finally:
        for hook in hooks:
            hook.remove()
    return Diagnostics(
        logit_std=logits.std(0).mean().item(),
        dead_fraction={name: (highest[name] <= 0).float().mean().item() for name in watched},
        constant_output=bool((logits.argmax(1) == logits[0].argmax()).all()),
    )


def collapsed(curves: Sequence[Epoch], classes: int) -> bool:
    """Whether training ended where it began: at the loss of a blind guess, ln(classes)."""
    return curves[-1].train_loss > math.log(classes) - COLLAPSE_MARGIN


def _optimizer(network: BlockNet, config: Config) -> torch.optim.Optimizer:
    adam = torch.optim.AdamW if config.decay_decoupled else torch.optim.Adam
    return adam(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _batches(data: Labelled) -> list[tuple[Tensor, Tensor]]:
    return list(
        zip(data.images.split(EVALUATION_BATCH), data.labels.split(EVALUATION_BATCH), strict=True)
    )

"""`fit` and `evaluate`: how a network is trained and how its accuracy is counted.

The whole data set lies on the device as uint8; batches are gathered, augmented and scaled there,
and the loop never waits for the device inside an epoch. What that gives on which machine stands in
the `timing` and `environment` of each record in `experiments/`.

Knows tensors; nothing of files or of experiments' names.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.device import Precision, autocast, pick_precision, synchronize
from training.environment import peak_memory_bytes
from training.experiments import Config
from training.labelled import Labelled
from training.network import LAYERS, BlockNet
from training.record import (
    MATRIX_CLASSES,
    Diagnostics,
    Epoch,
    Evaluation,
    Seeds,
    Timing,
    wilson95,
)
from training.step import step_for

EVALUATION_BATCH = 500
DIAGNOSTIC_IMAGES = 1000
GRADIENT_IMAGES = 128
COLLAPSE_MARGIN = 0.01
"""A training loss no further below that of a blind guess is no learning at all."""
COLLAPSE_PATIENCE = 3
"""So many such epochs from the first on, and a run may be given up."""
COLLAPSE_STEPS = 500
"""But not before so many steps: `none-3` took up to 300 where it learned (docs/collapse.md)."""
RISING = 0.25
"""The share of all steps in which a one-cycle schedule raises the learning rate."""
START, END = 1 / 25, 1 / 250_000
"""Where a one-cycle schedule begins and ends, as shares of its highest learning rate."""


class DivergedError(RuntimeError):
    """The loss is no number any more; the message says since when."""


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
    stop_if_collapsed: bool = False,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fit:
    """Train `network` in place, on the device of `training`.

    Seconds exclude set-up (moving, optimizer) and warm-up (a few steps that are undone, and the
    capture of the CUDA graph), and are read after the device has finished. The caller's random
    state is left as it was. With `stop_if_collapsed` it ends early where three epochs, and 500
    steps, have taught nothing.

    Raises:
        DivergedError: the loss became infinite or not a number.

    """
    device = training.images.device
    precision = pick_precision(config.precision, device)
    started = time.perf_counter()
    network.to(device).to(memory_format=torch.channels_last).train()
    order = torch.Generator().manual_seed(seeds.order)
    generator = torch.Generator(device)
    policy = config.policy if augmentation else None
    step = step_for(config)(network, training, config, precision, policy, generator)
    guess = blind_guess_loss(training, network.architecture.classes, config.label_smoothing)
    setup = time.perf_counter() - started

    with torch.random.fork_rng():
        started = time.perf_counter()
        count, size = len(training), config.batch_size
        step.rehearse(sorted({min(size, count), count % size or min(size, count)}))
        generator.manual_seed(seeds.augment)
        torch.manual_seed(seeds.order)  # dropout draws from the default generator
        synchronize(device)
        warmup = time.perf_counter() - started

        curves: list[Epoch] = []
        evaluating = 0.0
        taken, steps = 0, config.epochs * -(-count // size)
        for number in range(1, config.epochs + 1):
            network.train()
            started = time.perf_counter()
            step.totals.zero_()
            shuffled = torch.randperm(count, generator=order).to(device)
            for batch in shuffled.split(size):
                step.set_learning_rate(learning_rate(config, taken, steps))
                step(batch)
                taken += 1
                on_step()
            loss, hits = step.totals.tolist()  # waits for the device
            seconds = time.perf_counter() - started
            if not math.isfinite(loss):
                raise DivergedError(f"the training loss is {loss} in epoch {number}")

            started = time.perf_counter()
            held_out = evaluate(network, validation, precision) if validation else None
            evaluating += time.perf_counter() - started
            epoch = Epoch(
                epoch=number,
                train_loss=loss / count,
                train_accuracy=hits / count,
                validation_loss=held_out.loss if held_out else None,
                validation_accuracy=held_out.accuracy if held_out else None,
                seconds=seconds,
            )
            curves.append(epoch)
            on_epoch(epoch)
            stuck = all(collapsed([one], guess) for one in curves)
            patient = number < COLLAPSE_PATIENCE or taken < COLLAPSE_STEPS
            if stop_if_collapsed and stuck and not patient:
                break

    train = sum(epoch.seconds for epoch in curves)
    timing = Timing(
        setup=setup,
        warmup=warmup,
        train=train,
        evaluate=evaluating,
        images_per_second=len(curves) * count / train,
        peak_memory_bytes=peak_memory_bytes(device),
    )
    return Fit(tuple(curves), timing)


def learning_rate(config: Config, step: int, steps: int) -> float:
    """The learning rate of step 0, 1, ... of `steps`.

    `one_cycle` rises to it over the first quarter and falls to almost nothing, along cosines
    (Smith and Topin, 2017, as in PyTorch's `OneCycleLR`).
    """
    if config.schedule == "constant":
        return config.learning_rate
    rising = RISING * steps
    if step < rising:
        begin, end, done = START, 1.0, step / rising
    else:
        begin, end, done = 1.0, END, (step - rising) / (steps - rising)
    return config.learning_rate * (end + (begin - end) * (1 + math.cos(math.pi * done)) / 2)


@torch.inference_mode()
def predict(network: BlockNet, held_out: Labelled, precision: Precision = "fp32") -> Tensor:
    """Logits fp32 [N, classes] of images never augmented, on their device."""
    network.eval()
    logits = []
    for images in held_out.images.split(EVALUATION_BATCH):
        with autocast(images.device, precision):
            logits.append(network(images).float())
    return torch.cat(logits)


def evaluate(network: BlockNet, held_out: Labelled, precision: Precision = "fp32") -> Evaluation:
    """Loss and accuracy over images never augmented, each image counting once."""
    return score(predict(network, held_out, precision), held_out.labels)


def score(logits: Tensor, labels: Tensor) -> Evaluation:
    """Loss and accuracy of these logits [N, classes], each image counting once."""
    count, classes = logits.shape
    loss = functional.cross_entropy(logits.double(), labels)
    pairs = labels * classes + logits.argmax(1)
    matrix = torch.bincount(pairs, minlength=classes * classes).view(classes, classes).cpu()
    correct = int(matrix.diagonal().sum())
    whole, filled = classes <= MATRIX_CLASSES, matrix.nonzero().tolist()
    return Evaluation(
        count=count,
        loss=loss.item(),
        accuracy=correct / count,
        wilson95=wilson95(correct, count),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()) if whole else None,
        confusions=() if whole else tuple((i, j, int(matrix[i, j])) for i, j in filled),
    )


@torch.inference_mode()
def diagnose(network: BlockNet, sample: Labelled) -> Diagnostics:
    """Whether the network's parts still answer to its input, over up to 1,000 images.

    They are spread over all, which may come class by class.
    A unit is dead that no image moves: after its ReLU it is 0 for all of them. `logit_std` is the
    spread of a logit from image to image, averaged over classes.
    """
    network.eval()
    images = sample.images[:: -(-len(sample) // DIAGNOSTIC_IMAGES)]
    highest: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = output.amax(0)
            highest[name] = torch.maximum(highest[name], seen) if name in highest else seen

        return keep

    # Each is followed by a ReLU (dropout is the identity here), which lets nothing below 0 through.
    watched: dict[str, nn.Module] = {"hidden1": network.hidden1, "penultimate": network.hidden2}
    for name, block in zip(LAYERS, network.blocks, strict=False):
        watched[name] = block.get_submodule("pool")
    hooks = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    try:
        logits = torch.cat([network(batch) for batch in images.split(EVALUATION_BATCH)])
    finally:
        for hook in hooks:
            hook.remove()
    weights = layer_weights(network)
    gradients = _gradients(network, sample, weights.values())
    return Diagnostics(
        weight_norm={name: weight.norm().item() for name, weight in weights.items()},
        gradient_norm=dict(zip(weights, (one.norm().item() for one in gradients), strict=True)),
        logit_std=logits.std(0).mean().item(),
        dead_fraction={name: (highest[name] <= 0).float().mean().item() for name in watched},
        constant_output=bool((logits.argmax(1) == logits[0].argmax()).all()),
    )


def layer_weights(network: BlockNet) -> dict[str, Tensor]:
    """The weights of all convolutions and linear layers, by the layer's name."""
    return {
        name.replace("blocks.", "block "): module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def _gradients(
    network: BlockNet, sample: Labelled, weights: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """Of the loss over some images spread over all, as they are, without dropout."""
    step = -(-len(sample) // GRADIENT_IMAGES)
    with torch.inference_mode(mode=False), torch.enable_grad():
        images, labels = sample.images[::step].clone(), sample.labels[::step].clone()
        loss = functional.cross_entropy(network(images), labels)
        return torch.autograd.grad(loss, tuple(weights))


def blind_guess_loss(training: Labelled, classes: int, label_smoothing: float = 0.0) -> float:
    """The least training loss of a network that does not look: ln(classes) where they are even."""
    counts = torch.bincount(training.labels, minlength=classes).double()
    targets = (1 - label_smoothing) * counts / counts.sum() + label_smoothing / classes
    return float(torch.special.entr(targets).sum())


def collapsed(curves: Sequence[Epoch], guess: float) -> bool:
    """Whether training ended where it began: at the loss of a blind guess."""
    return curves[-1].train_loss > guess - COLLAPSE_MARGIN

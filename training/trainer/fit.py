"""`fit` and `evaluate`: how a network is trained and how its accuracy is counted.

The whole data set lies on the device as uint8; batches are gathered, augmented and scaled there,
and the loop never waits for the device inside an epoch. What that gives on which machine stands in
the `timing` and `environment` of each record in `experiments/`.

Knows tensors; nothing of files or of experiments' names.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from training.data.tensors import LabelledTensors
from training.experiments.config import Config
from training.experiments.environment import peak_memory_bytes
from training.experiments.record import Epoch, Seeds, Timing
from training.models.blocknet import BlockNet
from training.models.device import pick_precision, synchronize
from training.trainer.diagnostics import chance_loss, collapsed
from training.trainer.evaluation import evaluate
from training.trainer.train_step import step_for

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
class FitResult:
    """What training left behind, beside the network's new weights."""

    curves: tuple[Epoch, ...]
    timing: Timing


def fit(
    network: BlockNet,
    training: LabelledTensors,
    validation: LabelledTensors | None,
    config: Config,
    seeds: Seeds,
    *,
    augmentation: bool,
    stop_if_collapsed: bool = False,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> FitResult:
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
    guess = chance_loss(training, network.architecture.classes, config.label_smoothing)
    setup = time.perf_counter() - started

    with torch.random.fork_rng():
        started = time.perf_counter()
        count, size = len(training), config.batch_size
        step.warm_up(sorted({min(size, count), count % size or min(size, count)}))
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
            step.running_metrics.zero_()
            shuffled = torch.randperm(count, generator=order).to(device)
            for batch in shuffled.split(size):
                step.set_learning_rate(learning_rate(config, taken, steps))
                step(batch)
                taken += 1
                on_step()
            loss, hits = step.running_metrics.tolist()  # waits for the device
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
    return FitResult(tuple(curves), timing)


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

"""The training loop: epochs, learning rate schedule, timing, early stopping.

The data set is on the device as uint8. Batches are gathered, augmented and scaled there, and the
loop does not wait for the device within an epoch. Each record in `experiments/` has the speed in
`timing` and the machine in `environment`. Knows tensors; nothing of files or of experiments' names.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from training.data.tensors import LabelledTensors
from training.experiments.config import Config
from training.experiments.environment import peak_memory_bytes
from training.experiments.record import Epoch, Seeds, Timing
from training.models.device import pick_precision, synchronize
from training.models.network import Network
from training.trainer.diagnostics import chance_loss, collapsed
from training.trainer.evaluation import evaluate
from training.trainer.resume import Progress, Resume, TrainingState
from training.trainer.train_step import step_for

COLLAPSE_PATIENCE = 3
"""Epochs at the chance loss, from the first on, after which a run may be stopped early."""
COLLAPSE_STEPS = 500
"""Steps that every run is given: `none-3` needed up to 300 to learn (docs/collapse.md)."""
RISING_SHARE = 0.25
"""Share of the steps in which a one-cycle schedule raises the learning rate."""
START, END = 1 / 25, 1 / 250_000
"""First and last learning rate of a one-cycle schedule, as shares of the highest."""


class DivergedError(RuntimeError):
    """Raised if the training loss is infinite or not a number; the message names the epoch."""


@dataclass(frozen=True)
class FitResult:
    """The metrics of each epoch and the time that training took."""

    curves: tuple[Epoch, ...]
    timing: Timing


def fit(
    network: Network,
    training: LabelledTensors,
    validation: LabelledTensors | None,
    config: Config,
    seeds: Seeds,
    *,
    augmentation: bool,
    teacher: Network | None = None,
    stop_if_collapsed: bool = False,
    on_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    resume: Resume | None = None,
) -> FitResult:
    """Train `network` in place, on the device of `training`.

    Training seconds exclude set-up (copy to the device, optimizer) and warm-up (a few steps that
    are undone, and the capture of the CUDA graph). Clocks are read after the device has finished.
    The caller's random state does not change.

    Args:
        network: moved to the device and changed in place.
        training: images and labels to train on.
        validation: images and labels to evaluate after each epoch, if any.
        config: optimizer, schedule, epochs, batch size.
        seeds: seeds of the image order and of the augmentation.
        augmentation: whether to apply the policy of `config`.
        teacher: a trained network on any device, if `config` has distillation.
        stop_if_collapsed: stop early if 3 epochs and 500 steps have not lowered the loss below
            chance.
        on_step: called after each training step.
        on_epoch: called with the metrics of each new epoch.
        resume: where the state is saved after each epoch, and found if the run was stopped.

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
    taught_by = teacher.to(device).to(memory_format=torch.channels_last).eval() if teacher else None
    step = step_for(config)(network, training, config, precision, policy, generator, taught_by)
    chance = chance_loss(training, network.architecture.classes, config.label_smoothing)
    setup = time.perf_counter() - started

    with torch.random.fork_rng():
        started = time.perf_counter()
        count, size = len(training), config.batch_size
        step.warm_up(sorted({min(size, count), count % size or min(size, count)}))
        generator.manual_seed(seeds.augment)
        torch.manual_seed(seeds.order)  # dropout draws from the default generator
        synchronize(device)
        warmup = time.perf_counter() - started

        state = TrainingState(network, step.optimizers, _generators(order, generator, device))
        done = resume.load(state) if resume else Progress()
        curves, evaluating = list(done.curves), done.evaluating
        batches = -(-count // size)
        taken, steps = len(curves) * batches, config.epochs * batches
        for _ in range(taken):
            on_step()
        for number in range(len(curves) + 1, config.epochs + 1):
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
                raise DivergedError(
                    f"the training loss is {loss} in epoch {number}; lower the learning rate"
                )

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
            if resume:
                resume.save(state, Progress(tuple(curves), evaluating))
            on_epoch(epoch)
            if stop_if_collapsed and taken >= COLLAPSE_STEPS and _stuck(curves, chance):
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


def _stuck(curves: Sequence[Epoch], chance: float) -> bool:
    """Return whether no epoch so far has lowered the loss, after enough of them."""
    return len(curves) >= COLLAPSE_PATIENCE and all(collapsed([one], chance) for one in curves)


def _generators(
    order: torch.Generator, augmentation: torch.Generator, device: torch.device
) -> dict[str, torch.Generator]:
    """Name the generators that training draws from; dropout draws from the default ones."""
    found = {"order": order, "augment": augmentation, "default": torch.default_generator}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.default_generators[device.index or 0]
    return found


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Return the learning rate of step 0, 1, ... of `steps`.

    `one_cycle` raises it from 1/25 to `config.learning_rate` over the first quarter of the steps.
    Then it falls to 1/250,000 of that. Both parts follow a cosine (Smith and Topin, 2017; PyTorch's
    `OneCycleLR`).
    """
    if config.schedule == "constant":
        return config.learning_rate
    rising = RISING_SHARE * steps
    if step < rising:
        begin, end, done = START, 1.0, step / rising
    else:
        begin, end, done = 1.0, END, (step - rising) / (steps - rising)
    return config.learning_rate * (end + (begin - end) * (1 + math.cos(math.pi * done)) / 2)

"""Measures a trained network: dead units, weight and gradient norms, collapse.

Knows tensors and the network's layers; nothing of files or experiments.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.tensors import LabelledTensors
from training.experiments.record import Diagnostics, Epoch
from training.models.network import Network
from training.trainer.evaluation import EVALUATION_BATCH

DIAGNOSTIC_IMAGES = 1000
GRADIENT_IMAGES = 128
COLLAPSE_MARGIN = 0.01
"""A run has collapsed if its training loss is less than this below the chance loss."""


@torch.inference_mode()
def diagnose(network: Network, sample: LabelledTensors) -> Diagnostics:
    """Measure over about 1,000 images whether the network's units respond to its input.

    The images are taken at even steps, since a sample may be sorted by class. A unit is dead if
    its output after ReLU is 0 for all images. `logit_std` is the standard deviation of a logit over
    images, averaged over classes.
    """
    network.eval()
    images = sample.images[:: -(-len(sample) // DIAGNOSTIC_IMAGES)]
    highest: dict[str, Tensor] = {}

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = output.amax(0)
            highest[name] = torch.maximum(highest[name], seen) if name in highest else seen

        return hook

    # A ReLU follows each of these modules, so a unit is dead if its output is never above 0.
    watched = network.rectified
    hooks = [module.register_forward_hook(make_hook(name)) for name, module in watched.items()]
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


def layer_weights(network: Network) -> dict[str, Tensor]:
    """Return the trained weights of convolutions and linear layers by the layer's name."""
    return {
        name.replace("blocks.", "block "): module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    }


def _gradients(
    network: Network, sample: LabelledTensors, weights: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """Compute the loss's gradients over about 128 images, without augmentation or dropout."""
    step = -(-len(sample) // GRADIENT_IMAGES)
    with torch.inference_mode(mode=False), torch.enable_grad():
        images, labels = sample.images[::step].clone(), sample.labels[::step].clone()
        loss = functional.cross_entropy(network(images), labels)
        return torch.autograd.grad(loss, tuple(weights))


def chance_loss(training: LabelledTensors, classes: int, label_smoothing: float = 0.0) -> float:
    """Return the lowest training loss of a constant output: the entropy of the labels.

    It is ln(classes) if all classes have the same number of images.
    """
    counts = torch.bincount(training.labels, minlength=classes).double()
    targets = (1 - label_smoothing) * counts / counts.sum() + label_smoothing / classes
    return float(torch.special.entr(targets).sum())


def collapsed(curves: Sequence[Epoch], chance: float) -> bool:
    """Return whether the last training loss is at the chance loss, as before training."""
    return curves[-1].train_loss > chance - COLLAPSE_MARGIN

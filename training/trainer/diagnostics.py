"""Measures a trained network: dead units, weight and gradient norms, collapse."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.tensors import LabelledTensors
from training.experiments.record import Diagnostics, Epoch
from training.models.blocknet import LAYERS, BlockNet
from training.trainer.evaluation import EVALUATION_BATCH

DIAGNOSTIC_IMAGES = 1000

GRADIENT_IMAGES = 128

COLLAPSE_MARGIN = 0.01
"""A training loss no further below that of a blind guess is no learning at all."""


@torch.inference_mode()
def diagnose(network: BlockNet, sample: LabelledTensors) -> Diagnostics:
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
    network: BlockNet, sample: LabelledTensors, weights: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """Of the loss over some images spread over all, as they are, without dropout."""
    step = -(-len(sample) // GRADIENT_IMAGES)
    with torch.inference_mode(mode=False), torch.enable_grad():
        images, labels = sample.images[::step].clone(), sample.labels[::step].clone()
        loss = functional.cross_entropy(network(images), labels)
        return torch.autograd.grad(loss, tuple(weights))


def chance_loss(training: LabelledTensors, classes: int, label_smoothing: float = 0.0) -> float:
    """The least training loss of a network that does not look: ln(classes) where they are even."""
    counts = torch.bincount(training.labels, minlength=classes).double()
    targets = (1 - label_smoothing) * counts / counts.sum() + label_smoothing / classes
    return float(torch.special.entr(targets).sum())


def collapsed(curves: Sequence[Epoch], guess: float) -> bool:
    """Whether training ended where it began: at the loss of a blind guess."""
    return curves[-1].train_loss > guess - COLLAPSE_MARGIN

"""Builds a network from an experiment's config and seed."""

import torch
from torch import Tensor, nn

from training.experiments.config import Experiment
from training.models.blocknet import Architecture, BlockNet


def build_network(experiment: Experiment, classes: int, seed: int, images: Tensor) -> BlockNet:
    """The experiment's network with the weights that this seed draws.

    `images` are those to be trained on, uint8 [N, 3, 32, 32]: normalised inputs need their mean
    and standard deviation.
    """
    variant = experiment.variant
    architecture = Architecture(
        classes=classes,
        conv_blocks=variant.conv_blocks,
        batch_norm=variant.batch_norm,
        dropout=variant.dropout,
    )
    if variant.normalised:
        architecture = architecture.model_copy(update=_moments(images))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BlockNet(architecture)
        if experiment.config.init == "he":
            network.apply(_init_he)
    return network


def _moments(images: Tensor) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of the pixels of each channel, as fractions.

    Rounded, so that they do not depend on the order of a sum.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = [
        torch.bincount(channel.flatten().int(), minlength=256) for channel in images.unbind(1)
    ]
    shares = [count.cpu().double() / count.sum().item() for count in counts]
    means = [(share * levels).sum() for share in shares]
    squares = [(share * levels**2).sum() for share in shares]
    stds = [(square - mean**2).sqrt() for mean, square in zip(means, squares, strict=True)]
    return {
        "mean": tuple(round(mean.item(), 4) for mean in means),
        "std": tuple(max(round(std.item(), 4), 1e-3) for std in stds),  # never 0
    }


def _init_he(module: nn.Module) -> None:
    """Keep the variance of what passes through ReLU (He et al., 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

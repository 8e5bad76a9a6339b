"""Builds a network from an experiment's settings and a seed. Knows nothing of training."""

import torch
from torch import Tensor, nn

from training.experiments.config import Experiment
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet


def build_network(experiment: Experiment, classes: int, seed: int, images: Tensor) -> BlockNet:
    """Build the experiment's network with random weights from this seed.

    The caller's random state does not change.

    Args:
        experiment: its variant and its initialisation count.
        classes: number of classes.
        seed: seed of the weights.
        images: training images, uint8 [N, 3, 32, 32]. If the variant normalises its inputs, their
            mean and standard deviation are stored in the network.

    """
    variant = experiment.variant
    architecture = Architecture(
        classes=classes,
        conv_blocks=variant.conv_blocks,
        batch_norm=variant.batch_norm,
        dropout=variant.dropout,
        width=variant.width,
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
    """Compute the mean and standard deviation of each channel, for pixels from 0 to 1.

    They are rounded to 4 digits, so that they do not depend on the order of summation.
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
        "std": tuple(max(round(std.item(), 4), 1e-3) for std in stds),  # the network divides by it
    }


def _init_he(module: nn.Module) -> None:
    """Draw weights that keep the variance of activations through ReLU (He et al., 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

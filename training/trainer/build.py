"""Builds a network from an experiment's settings and a seed. Knows nothing of training."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from training.experiments.config import Experiment
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet
from training.models.layers import Family
from training.models.network import Network, OnImages, ignore
from training.models.pretrained_architecture import PretrainedArchitecture


def build_network(
    experiment: Experiment,
    classes: int,
    seed: int,
    images: Tensor,
    on_images: OnImages = ignore,
) -> Network:
    """Build the experiment's network with random weights from this seed, or pretrained ones.

    The caller's random state does not change.

    Args:
        experiment: its variant and its initialisation count.
        classes: number of classes.
        seed: seed of the weights.
        images: training images, uint8 [N, 3, side, side]. If the variant normalises its inputs, or
            is pretrained, means and standard deviations over them are stored in the network.
        on_images: called with the number of images that a pretrained body has seen.

    Raises:
        WeightsError: the pretrained weights are not there.

    """
    with torch.random.fork_rng():
        build = BUILDERS[experiment.variant.family]
        return build(experiment, classes, seed, images, on_images)


def _blocknet(
    experiment: Experiment, classes: int, seed: int, images: Tensor, _: OnImages
) -> Network:
    variant = experiment.variant
    architecture = Architecture.model_validate(
        {
            "classes": classes,
            "conv_blocks": variant.conv_blocks,
            "batch_norm": variant.batch_norm,
            "dropout": variant.dropout,
            "width": variant.width,
            "side": variant.side,
        }
    )
    if variant.normalised:
        architecture = architecture.model_copy(update=_moments(images))
    torch.manual_seed(seed)
    network = BlockNet(architecture)
    if experiment.config.init == "he":
        network.apply(_init_he)
    return network


def _pretrained(
    experiment: Experiment, classes: int, seed: int, images: Tensor, on_images: OnImages
) -> Network:
    from training.models.pretrained import PretrainedNet  # noqa: PLC0415  imports an extra, timm

    architecture = PretrainedArchitecture(classes=classes, fine_tuned=experiment.variant.fine_tuned)
    torch.manual_seed(seed)
    network = PretrainedNet(architecture)
    network.load_body()
    network.standardise(images, on_images)
    return network


BUILDERS: Final[Mapping[Family, Callable[[Experiment, int, int, Tensor, OnImages], Network]]] = {
    "blocknet": _blocknet,
    "pretrained": _pretrained,
}
"""How a network of each family is built."""


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

"""How far the numbers reach that convolutions multiply, which whole numbers of 8 bits need to know.

Where the processor has instructions for them, whole numbers are multiplied twice as fast as bf16.
What that moves is tried out here on images that the network was not trained on, in floating point.
Knows networks and images; nothing of files, nor of who multiplies.
"""

import copy
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.base_model import Frozen
from training.models.blocknet import BlockNet

QUANTIZED: Final = ("blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2")
"""The convolutions whose numbers may be rounded: of each block the second, seven tenths of all that
is multiplied. The first convolutions are given what a batch norm has made of many sizes, and to
round that moves ten times as many classes."""
STEPS: Final = 255
"""Between the least and the greatest input. Weights have 127 to either side of 0, per channel."""
CALIBRATION: Final = 500
HEADROOM: Final = 1.25
"""Some images go further than those that were measured, and what is cut off moves more than coarser
steps do: of 1,500 images the least cosine was 0.9964 without, 0.9995 with it."""
CHECKS: Final = 2_500
MIN_IMAGES: Final = 500
"""Checks without which nothing is said of how much rounding moves."""
BATCH: Final = 250
SAME_CLASS: Final = 0.995
LEAST_COSINE: Final = 0.999


class ActivationRanges(Frozen):
    """The least and the greatest input of each convolution that may be rounded, by its name.

    0 is one of the steps between them: it is what images are surrounded with. On `checks` other
    images, the rounded network has `same_class` of the classes, and at `conv2` a cosine of at least
    `least_cosine`, that the network itself has.
    """

    inputs: dict[str, tuple[float, float]]
    same_class: float
    least_cosine: float
    checks: int

    @property
    def within_tolerance(self) -> bool:
        """Whether rounding moves little enough to be served unasked."""
        return (
            self.checks >= MIN_IMAGES
            and self.same_class >= SAME_CLASS
            and self.least_cosine >= LEAST_COSINE
        )


@torch.inference_mode()
def measure(network: BlockNet, known: Tensor, held_out: Tensor) -> ActivationRanges | None:
    """Measure them; None for a network that has none of the convolutions, or for no images.

    Args:
        network: in evaluation mode, on any device.
        known: images uint8 [N, 3, 32, 32] that it was trained on, of which a few are enough.
        held_out: the same of images that it was not trained on.

    """
    known, held_out = known[:CALIBRATION], held_out[:CHECKS]
    if len(known) == 0 or len(held_out) == 0:
        return None
    inputs = _inputs(network, known)
    exact, found = (_run(one, held_out) for one in (network, fake_quantized(network, inputs)))
    same = exact["logits"].argmax(1) == found["logits"].argmax(1)
    cosines = functional.cosine_similarity(exact["conv2"], found["conv2"])
    return ActivationRanges(
        inputs=inputs,
        same_class=same.float().mean().item(),
        least_cosine=min(1.0, cosines.min().item()),
        checks=len(held_out),
    )


@torch.no_grad()
def fake_quantized(network: BlockNet, inputs: Mapping[str, tuple[float, float]]) -> BlockNet:
    """A copy whose convolutions have their inputs and weights rounded to so many steps."""
    network = copy.deepcopy(network)
    for name, reach in inputs.items():
        convolution = network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)  # noqa: S101  by `QUANTIZED`
        largest = convolution.weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
        convolution.weight.copy_(_to_steps(convolution.weight, -largest, largest, STEPS - 1))
        convolution.register_forward_pre_hook(_FakeQuantize(*reach))
    return network


class _FakeQuantize:
    """What rounds the input of a module."""

    def __init__(self, least: float, greatest: float) -> None:
        self._reach = torch.tensor(least), torch.tensor(greatest)

    def __call__(self, _: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (_to_steps(given[0], *self._reach, steps=STEPS),)


def _to_steps(values: Tensor, least: Tensor, greatest: Tensor, steps: int) -> Tensor:
    size = ((greatest - least) / steps).to(values)
    nearest = ((values - least.to(values)) / size).round().clamp(0, steps)
    return nearest * size + least.to(values)


def _inputs(network: BlockNet, images: Tensor) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    network = copy.deepcopy(network)
    for name, module in network.named_modules():
        if name in QUANTIZED:

            def see(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                least, greatest = found.get(name, (0.0, 0.0))
                found[name] = (
                    min(least, given[0].min().item()),
                    max(greatest, given[0].max().item()),
                )

            module.register_forward_pre_hook(see)
    _run(network, images)
    return {
        name: _around_zero(HEADROOM * least, HEADROOM * greatest)
        for name, (least, greatest) in sorted(found.items())
    }


def _around_zero(least: float, greatest: float) -> tuple[float, float]:
    """The same reach, moved so that 0 is a step."""
    size = (greatest - least) / STEPS or 1 / STEPS
    below = round(-least / size)
    return -below * size, (STEPS - below) * size


def _run(network: BlockNet, images: Tensor) -> dict[str, Tensor]:
    device = next(network.parameters()).device
    found = [
        network.representations(images[start : start + BATCH].to(device), ("conv2", "logits"))
        for start in range(0, len(images), BATCH)
    ]
    return {layer: torch.cat([one[layer] for one in found]) for layer in ("conv2", "logits")}

"""Random flips, shifts, cut-outs and mixtures of whole batches, on whatever device they are.

Training data alone comes here; evaluation never does. Its generator is its own, so that
augmentation can be seeded apart from everything else.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.experiments.config import REPORT, Policy

GREY = 128
"""What a cut-out leaves behind."""


def augment(images: Tensor, generator: torch.Generator, policy: Policy = REPORT) -> Tensor:
    """Flip each image left to right or not, shift it at random, cut a square out of it.

    Args:
        images: uint8 [N, 3, H, W].
        generator: on the device of the images.
        policy: how far, and what comes in.

    Returns:
        uint8 [N, 3, H, W], channels last in memory.

    """
    count, _, height, width = images.shape
    left, right, top, bottom = policy.padding
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), device=device, generator=generator)

    flipped = torch.where(draw(2).view(count, 1, 1, 1).bool(), images.flip(3), images)
    rows = draw(top + bottom + 1) + torch.arange(height, device=device)
    columns = draw(left + right + 1) + torch.arange(width, device=device)
    if policy.reflect:
        source = flipped
        rows, columns = _reflect(rows - top, height), _reflect(columns - left, width)
    else:
        source = functional.pad(flipped, policy.padding)
    sample = torch.arange(count, device=device).view(count, 1, 1)
    # Advanced indices around a slice come first: the result is [N, H, W, 3].
    shifted = source[sample, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    if policy.cutout:
        tall, wide = (_near(draw(side), side, policy.cutout) for side in (height, width))
        shifted = shifted.masked_fill((tall.unsqueeze(2) & wide.unsqueeze(1)).unsqueeze(1), GREY)
    return shifted


def apply_cutmix(images: Tensor, generator: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
    """Paste a box of the image before it in the batch into `share` of the images (CutMix).

    A box has the image's proportions, any area and any centre; what lies outside is lost.

    Args:
        images: uint8 [N, 3, H, W], in random order.
        generator: on the device of the images.
        share: from 0 to 1.

    Returns:
        uint8 [N, 3, H, W], and the part of each image that is still its own, fp32 [N].

    """
    count, _, height, width = images.shape
    device = images.device
    area, coin = torch.rand(2, count, 1, device=device, generator=generator)
    side = area.sqrt() * (coin < share)

    def stretch(length: int) -> Tensor:
        centres = torch.randint(length, (count, 1), device=device, generator=generator)
        return _near(centres, length, (side * length).round().long())

    box = stretch(height).unsqueeze(2) & stretch(width).unsqueeze(1)
    mixed = torch.where(box.unsqueeze(1), images.roll(1, 0), images)
    return mixed, 1 - box.float().mean((1, 2))


def _reflect(positions: Tensor, side: int) -> Tensor:
    """Positions outside [0, side) mirrored at the first and last pixel."""
    return (side - 1) - ((side - 1) - positions.abs()).abs()


def _near(centres: Tensor, side: int, length: int | Tensor) -> Tensor:
    """Which of `side` positions lie on the stretch of that length around each centre [N, 1]."""
    start = centres - length // 2
    positions = torch.arange(side, device=centres.device)
    return (positions >= start) & (positions < start + length)

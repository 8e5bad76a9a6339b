"""Augments whole batches of training images: flip, shift, cut-out and CutMix.

Works on the device of the images, with a generator of its own, so that augmentation has its own
seed. Knows nothing of networks.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.experiments.config import REPORT, Policy

GREY = 128
"""Pixel value of a cut-out square."""


def augment(images: Tensor, generator: torch.Generator, policy: Policy = REPORT) -> Tensor:
    """Flip each image with probability 1/2, shift it at random and cut a square out of it.

    Args:
        images: uint8 [N, 3, H, W].
        generator: on the device of the images.
        policy: range of the shift, padding and side of the square.

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
    # Indexing puts the dimensions of the index tensors first: the result is [N, H, W, 3].
    shifted = source[sample, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    if policy.cutout:
        rows_cut, columns_cut = (_mask(draw(side), side, policy.cutout) for side in (height, width))
        shifted = shifted.masked_fill(
            (rows_cut.unsqueeze(2) & columns_cut.unsqueeze(1)).unsqueeze(1), GREY
        )
    return shifted


def apply_cutmix(images: Tensor, generator: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
    """Paste a box of the previous image of the batch into a share of the images.

    This is CutMix (Yun et al., 2019). The box has the image's proportions, a random area and a
    random centre, and is cut off at the image's edges.

    Args:
        images: uint8 [N, 3, H, W], in random order.
        generator: on the device of the images.
        share: share of the images that get a box, from 0 to 1.

    Returns:
        The images, uint8 [N, 3, H, W], and the fraction of each that is its own, fp32 [N].

    """
    count, _, height, width = images.shape
    device = images.device
    area, coin = torch.rand(2, count, 1, device=device, generator=generator)
    side = area.sqrt() * (coin < share)

    def draw_mask(length: int) -> Tensor:
        centres = torch.randint(length, (count, 1), device=device, generator=generator)
        return _mask(centres, length, (side * length).round().long())

    box = draw_mask(height).unsqueeze(2) & draw_mask(width).unsqueeze(1)
    mixed = torch.where(box.unsqueeze(1), images.roll(1, 0), images)
    return mixed, 1 - box.float().mean((1, 2))


def _reflect(positions: Tensor, side: int) -> Tensor:
    """Mirror positions outside [0, side) at the first and the last pixel."""
    return (side - 1) - ((side - 1) - positions.abs()).abs()


def _mask(centres: Tensor, side: int, length: int | Tensor) -> Tensor:
    """Mark the positions within `length` around each centre [N, 1]; returns bool [N, side]."""
    start = centres - length // 2
    positions = torch.arange(side, device=centres.device)
    return (positions >= start) & (positions < start + length)

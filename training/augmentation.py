"""Random flips and padded crops on whole batches, on whatever device they are.

Training data alone comes here; evaluation never does. Its generator is its own, so that
augmentation can be seeded apart from everything else.
"""

import torch
from torch import Tensor
from torch.nn import functional

PADDING = (0, 3, 2, 4)
"""Left, right, top, bottom, in pixels: the report's `RandomCrop(32, padding=[0, 2, 3, 4])`."""


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image left to right or not, then crop it at random from its zero-padded self.

    Args:
        images: uint8 [N, 3, H, W].
        generator: on the device of the images.

    Returns:
        uint8 [N, 3, H, W], channels last in memory.

    """
    count, _, height, width = images.shape
    left, right, top, bottom = PADDING
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), device=device, generator=generator)

    flipped = torch.where(draw(2).view(count, 1, 1, 1).bool(), images.flip(3), images)
    padded = functional.pad(flipped, PADDING)
    rows = draw(top + bottom + 1) + torch.arange(height, device=device)
    columns = draw(left + right + 1) + torch.arange(width, device=device)
    sample = torch.arange(count, device=device).view(count, 1, 1)
    # Advanced indices around a slice come first: the result is [N, H, W, 3].
    return padded[sample, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)

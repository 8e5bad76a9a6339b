"""Images to representations, in batches, always at fp32, so that no machine rounds its own way.

Knows networks and tensors; nothing of indexes or files.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from training.index.cosine import Vectors
from training.models.blocknet import BlockNet, Layer

BATCH = 250


@torch.inference_mode()
def embed(
    network: BlockNet,
    images: Tensor,
    layers: Sequence[Layer],
    device: torch.device,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[Layer, Vectors]:
    """Representations of uint8 images [N, 3, 32, 32] at each layer, [N, dimension], on the CPU."""
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    found: dict[Layer, list[Vectors]] = {layer: [] for layer in layers}
    for batch in images.split(BATCH):
        on_device = batch.to(device).contiguous(memory_format=torch.channels_last)
        for layer, vectors in network.representations(on_device, layers).items():
            found[layer].append(vectors.float().cpu().numpy())
        on_batch()
    return {layer: np.concatenate(chunks) for layer, chunks in found.items()}


def batches(count: int) -> int:
    """How often `embed` calls back for so many images."""
    return -(-count // BATCH)

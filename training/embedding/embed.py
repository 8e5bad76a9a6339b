"""Embed images in memory, in batches, always at fp32, so that results agree between machines.

Works on networks and tensors; must not know indexes or files.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from training.index.cosine import Vectors
from training.index.maps import pool
from training.models.layers import Layer
from training.models.network import Network

BATCH_SIZE = 250


@torch.inference_mode()
def embed(
    network: Network,
    images: Tensor,
    layers: Sequence[Layer],
    device: torch.device,
    on_batch: Callable[[], None] = lambda: None,
    *,
    pooled: bool = False,
) -> dict[Layer, Vectors]:
    """Compute the outputs of layers for uint8 images [N, 3, side, side].

    Args:
        network: moved to `device` and to evaluation mode.
        images: uint8 [N, 3, side, side], on any device.
        layers: to return.
        device: to compute on.
        on_batch: called after each batch; `batch_count` computes how often.
        pooled: averages long vectors over blocks of places, as maps need them, to save memory.

    Returns:
        Vectors float32 [N, dimension] of each layer, on the CPU.

    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    shapes = {layer.name: layer.shape for layer in network.spec.layers}
    outputs: dict[Layer, list[Vectors]] = {layer: [] for layer in layers}
    recallable = {*layers}.isdisjoint(network.spec.explaining)
    for batch in images.split(BATCH_SIZE):
        inputs = network.recall(batch.to(device)) if recallable else batch.to(device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        for layer, vectors in network.representations(inputs, layers).items():
            rows = vectors.float().cpu().numpy()
            outputs[layer].append(pool(rows, shapes[layer]) if pooled else rows)
        on_batch()
    return {layer: np.concatenate(chunks) for layer, chunks in outputs.items()}


def batch_count(count: int) -> int:
    """Return the number of batches in which `embed` processes `count` images."""
    return -(-count // BATCH_SIZE)

"""Trains a decoder for each layer of a network, and measures how well it draws.

Knows networks and images; must not know bundles. The network itself does not change.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.preprocessing import Pixels
from training.index.cosine import Vectors
from training.models import decoder
from training.models.decoder import PICTURE_SIDE, SEED_CHANNELS, SEED_SIDE, Decoder, DecoderQuality
from training.models.layers import Layer
from training.models.network import Network

STEPS: Final = 700
MAX_PASSES: Final = 10
"""Times that an image is seen at most: fewer images need fewer steps."""
BATCH_SIZE: Final = 64
LEARNING_RATE: Final = 3e-3
MAX_KEPT_BYTES: Final = 2**29
"""Vectors of all images that are kept; more are computed again at each step."""
MEASURED: Final = 1_000
"""Held-out images that the quality of a decoder is measured on, at most."""
SSIM_SIGMA, SSIM_TRUNCATE, SSIM_BORDER = 1.5, 3.5, 5
"""The Gaussian window of Wang et al. (2004): 11 x 11 pixels, without those at the border."""


class DecoderModule(nn.Module):
    """A `Decoder` that can be trained."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.stages = nn.ModuleList(
            nn.Conv2d(size[1], size[0], 3, padding=1)
            if len(size) == 4
            else nn.Linear(size[1], size[0])
            for size in decoder.shapes(shape)
        )
        for stage in self.stages:
            nn.init.kaiming_normal_(stage.get_parameter("weight"))
            nn.init.zeros_(stage.get_parameter("bias"))
        nn.init.xavier_normal_(self.stages[-1].get_parameter("weight"), gain=0.1)
        nn.init.constant_(self.stages[-1].get_parameter("bias"), 0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        """Draw pictures [N, 3, 32, 32], from 0 to 1, of vectors [N, dimension]."""
        hidden = functional.normalize(vectors, dim=1) * math.sqrt(vectors.shape[1])
        if decoder.starts_with_places(self.shape):
            hidden = hidden.unflatten(1, self.shape)
        last = len(self.stages) - 1
        for number, stage in enumerate(self.stages):
            if 0 < number < last:
                hidden = functional.interpolate(hidden, scale_factor=2.0)
            hidden = stage(hidden)
            if hidden.ndim == 2:
                hidden = hidden.unflatten(1, (SEED_CHANNELS, SEED_SIDE, SEED_SIDE))
            if number < last:
                hidden = functional.relu(hidden)
        return hidden

    def export(self) -> Decoder:
        """Return the decoder with the weights as they are stored, rounded to fp16."""
        stages = tuple(
            (_rounded(stage.get_parameter("weight")), _rounded(stage.get_parameter("bias")))
            for stage in self.stages
        )
        return Decoder(self.shape, stages)


def steps_for(count: int) -> int:
    """Return the most steps that `count` images are worth."""
    return MAX_PASSES * -(-count // BATCH_SIZE)


def train(
    network: Network,
    images: Tensor,
    device: torch.device,
    *,
    steps: int = STEPS,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> dict[Layer, Decoder]:
    """Train the decoders of all layers of a network, side by side.

    The loss is the mean squared error of the pixels.

    Args:
        network: in evaluation mode from now on, and on `device`.
        images: uint8 [N, 3, side, side], that the network was trained on.
        device: to compute on.
        steps: batches of 64 images.
        seed: of the first weights and of the order of the images.
        on_step: called after each batch.

    """
    spec = network.spec
    network.to(device).to(memory_format=torch.channels_last).eval()
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modules = {
            layer.name: DecoderModule(layer.shape).to(device).to(memory_format=torch.channels_last)
            for layer in spec.pictured
        }
    parameters = [one for module in modules.values() for one in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    embedded = _embed_once(network, images, tuple(modules), device)
    for _ in range(steps):
        picked = torch.randint(len(images), (min(BATCH_SIZE, len(images)),), generator=order)
        batch = images[picked].to(device)
        if embedded:
            vectors = {name: rows[picked.to(device)] for name, rows in embedded.items()}
        else:
            vectors = _embed(network, batch, tuple(modules))
        target = _targets(batch)
        loss = sum(
            functional.mse_loss(module(vectors[name]), target) for name, module in modules.items()
        )
        assert isinstance(loss, Tensor)  # noqa: S101  a network has layers
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step()
    return {name: module.export() for name, module in modules.items()}


def measure(
    decoders: Mapping[Layer, Decoder], vectors: Mapping[Layer, Vectors], images: Tensor
) -> dict[Layer, DecoderQuality]:
    """Measure decoders by the vectors [N, dimension] of held-out images, uint8 [N, 3, H, W]."""
    targets = (_targets(images) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return {layer: quality(_draw(one, vectors[layer]), targets) for layer, one in decoders.items()}


def quality(pictures: Pixels, targets: Pixels) -> DecoderQuality:
    """Compare pictures with what they should show, both uint8 [N, H, W, 3]."""
    first, second = (one.astype(np.float32) / np.float32(255) for one in (pictures, targets))
    error = float(np.square(first - second).mean())
    return DecoderQuality(
        psnr=-10 * math.log10(max(error, 1e-10)), ssim=float(_ssim(first, second).mean())
    )


def _ssim(first: Vectors, second: Vectors) -> Vectors:
    """Compute the structural similarity at each pixel of images [N, H, W, 3] from 0 to 1."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415  slow to import

    def blur(values: Vectors) -> Vectors:
        sigma = (0, SSIM_SIGMA, SSIM_SIGMA, 0)
        blurred: Vectors = gaussian_filter(values, sigma, truncate=SSIM_TRUNCATE)
        inner = slice(SSIM_BORDER, -SSIM_BORDER)
        return blurred[:, inner, inner]

    means = blur(first), blur(second)
    variances = blur(first * first) - means[0] ** 2, blur(second * second) - means[1] ** 2
    covariance = blur(first * second) - means[0] * means[1]
    small, large = 0.01**2, 0.03**2
    similarity = (2 * means[0] * means[1] + small) * (2 * covariance + large)
    norm = (means[0] ** 2 + means[1] ** 2 + small) * (variances[0] + variances[1] + large)
    return np.asarray(similarity / norm, np.float32)


def _embed_once(
    network: Network, images: Tensor, layers: Sequence[Layer], device: torch.device
) -> dict[Layer, Tensor]:
    """Embed all images, if their vectors are small enough to keep; else return nothing."""
    length = sum(network.spec.layer(name).length for name in layers)
    if 4 * length * len(images) > MAX_KEPT_BYTES:
        return {}
    parts = [_embed(network, one.to(device), layers) for one in images.split(BATCH_SIZE)]
    return {name: torch.cat([part[name] for part in parts]) for name in layers}


@torch.no_grad()
def _embed(network: Network, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
    inputs = network.recall(images)
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return network.representations(inputs, layers)


def _draw(one: Decoder, vectors: Vectors, size: int = BATCH_SIZE) -> Pixels:
    parts = [one(vectors[start : start + size]) for start in range(0, len(vectors), size)]
    return np.concatenate(parts)


def _targets(images: Tensor) -> Tensor:
    """Return images as the decoders are to draw them, [N, 3, 32, 32] from 0 to 1."""
    pixels = images.float() / 255
    if images.shape[-1] == PICTURE_SIDE:
        return pixels
    return functional.interpolate(pixels, size=(PICTURE_SIDE, PICTURE_SIDE), mode="area")


def _rounded(parameter: Tensor) -> Vectors:
    values: Vectors = parameter.detach().half().float().cpu().contiguous().numpy()
    return values

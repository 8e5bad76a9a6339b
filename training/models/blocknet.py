"""`BlockNet`: the convolutional network of this project, in all its variants.

Its input is uint8 pixels and it normalises them itself, so training and serving cannot differ.
Must not know data sets, devices or files.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.architecture import BLOCKNET_SIDE, CONV_LAYERS, Architecture
from training.models.layers import Layer
from training.models.network import Network

QUANTIZED: Final = ("blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2")
"""The convolutions that may run at int8: the second of each block, 70 % of all multiplications.

The first ones stay in floating point. Their inputs come from a batch norm and differ much in scale
between channels, and rounding them changes ten times as many predicted classes."""


class Block(nn.Module):
    """A block as in the report: conv 3x3, ReLU, conv 3x3, ReLU, max pool 2x2, batch norm.

    The code pools before the second ReLU. Outputs and gradients are bit-identical, and the ReLU
    has a quarter of the values to compute.
    """

    def __init__(self, inner: int, middle: int, outer: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, middle, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(middle, outer, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(outer) if batch_norm else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [N, inner, H, W] to [N, outer, H / 2, W / 2]."""
        hidden = functional.relu(self.conv1(hidden), inplace=True)
        hidden = functional.relu(self.pool(self.conv2(hidden)), inplace=True)
        normed: Tensor = self.norm(hidden)
        return normed


class BlockNet(Network):
    """Convolution blocks and three linear layers, on uint8 [N, 3, side, side]."""

    architecture: Architecture
    quantized = QUANTIZED
    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.register_buffer("mean", _per_channel(architecture.mean), persistent=False)
        self.register_buffer("std", _per_channel(architecture.std), persistent=False)
        channels = architecture.channels
        self.blocks = nn.ModuleList(
            Block(*sizes, batch_norm=architecture.batch_norm) for sizes in channels
        )
        side = architecture.side // 2 ** len(channels)
        middle = 2 * architecture.hidden
        self.hidden1 = nn.Linear(channels[-1][2] * side * side, middle)
        self.hidden2 = nn.Linear(middle, architecture.hidden)
        self.output = nn.Linear(architecture.hidden, architecture.classes)
        self.dropout = nn.Dropout(architecture.dropout)

    @property
    def rectified(self) -> Mapping[str, nn.Module]:
        """The modules that a ReLU follows, by the names of their layers."""
        hidden = {"hidden1": self.hidden1, "penultimate": self.hidden2}
        pools = (block.get_submodule("pool") for block in self.blocks)
        return hidden | dict(zip(CONV_LAYERS, pools, strict=False))

    def representations(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Compute the outputs of layers for uint8 images [N, 3, side, side], each [N, dimension].

        - `conv1`, `conv2`, `conv3`: block outputs, flattened channel-major (`conv2`: 128 x 8 x 8
          = 8192). At sides above 32 they are pooled to as many places.
        - `penultimate`: 512, after its ReLU.
        - `logits`: one per class.

        Raises:
            ValueError: the network has no layer of that name; the message lists its layers.

        """
        self.require(layers)
        outputs: dict[Layer, Tensor] = {}
        hidden = (images.float() / 255 - self.mean) / self.std
        named = CONV_LAYERS[: self.architecture.conv_blocks]
        for number, block in enumerate(self.blocks, start=1):
            hidden = block(hidden)
            if number <= len(named):
                outputs[named[number - 1]] = _pooled(hidden, BLOCKNET_SIDE >> number)
        hidden = functional.relu(self.dropout(self.hidden1(hidden.flatten(1))))
        hidden = functional.relu(self.dropout(self.hidden2(hidden)))
        outputs["penultimate"] = hidden
        outputs["logits"] = self.output(hidden) / self.architecture.temperature
        return {name: outputs[name].flatten(1) for name in layers}


def _pooled(hidden: Tensor, places: int) -> Tensor:
    """Return a feature map averaged over squares, with so many places on a side."""
    factor = hidden.shape[-1] // places
    return hidden if factor == 1 else functional.avg_pool2d(hidden, factor)


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)

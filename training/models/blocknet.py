"""`BlockNet`: the convolutional network of this project, in all its variants.

Its input is uint8 pixels and it normalises them itself, so training and serving cannot differ.
Must not know data sets, devices or files.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.architecture import (
    LAYERS,
    Architecture,
    Layer,
    NetworkSpec,
    describe_blocknet,
)


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


class BlockNet(nn.Module):
    """Two or three convolution blocks and three linear layers, on uint8 [N, 3, 32, 32]."""

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
        side = self.spec.side // 2 ** len(channels)
        middle = 2 * architecture.hidden
        self.hidden1 = nn.Linear(channels[-1][2] * side * side, middle)
        self.hidden2 = nn.Linear(middle, architecture.hidden)
        self.output = nn.Linear(architecture.hidden, architecture.classes)
        self.dropout = nn.Dropout(architecture.dropout)

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers, as data."""
        return describe_blocknet(self.architecture)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that `representations` can return, in order from the input."""
        return tuple(layer.name for layer in self.spec.layers)

    def calibrate(self, temperature: float) -> None:
        """Divide logits by `temperature` from now on. Classes and cosines do not change."""
        self.architecture = self.architecture.model_copy(update={"temperature": temperature})

    def centre_logits(self) -> None:
        """Change the output layer so that the mean of the logits of any image is 0.

        Probabilities do not change. The cosine of two vectors of logits is then their correlation:
        without it, what all images have in common takes part in every score.
        """
        with torch.no_grad():
            self.output.weight.sub_(self.output.weight.mean(0))
            self.output.bias.sub_(self.output.bias.mean())

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits [N, classes] of uint8 images [N, 3, 32, 32]."""
        return self.representations(images, ("logits",))["logits"]

    def representations(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Compute the outputs of layers for uint8 images [N, 3, 32, 32], each [N, dimension].

        - `conv1`, `conv2`, `conv3`: block outputs, flattened channel-major (`conv2`: 128 x 8 x 8
          = 8192).
        - `penultimate`: 512, after its ReLU.
        - `logits`: one per class.

        Raises:
            ValueError: the network has no layer of that name; the message lists its layers.

        """
        if unknown := set(layers) - set(self.layers):
            raise ValueError(
                f"no layer {sorted(unknown)}; this network has {', '.join(self.layers)}"
            )
        outputs: dict[Layer, Tensor] = {}
        hidden = (images.float() / 255 - self.mean) / self.std
        for name, block in zip(LAYERS, self.blocks, strict=False):
            hidden = block(hidden)
            outputs[name] = hidden
        hidden = functional.relu(self.dropout(self.hidden1(hidden.flatten(1))))
        hidden = functional.relu(self.dropout(self.hidden2(hidden)))
        outputs["penultimate"] = hidden
        outputs["logits"] = self.output(hidden) / self.architecture.temperature
        return {name: outputs[name].flatten(1) for name in layers}


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)

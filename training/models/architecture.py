"""The hyperparameters of a `BlockNet`, and its layers. Must not know PyTorch."""

from collections.abc import Mapping
from typing import Final, Literal

from training.base_model import Frozen
from training.models.layers import Layer, LayerSpec, NetworkSpec, layer_of

CONV_LAYERS: Final[tuple[Layer, ...]] = ("conv1", "conv2", "conv3")
CHANNELS = ((3, 32, 64), (64, 128, 128), *((inner, 256, 256) for inner in (128, 256, 256)))
"""Input, middle and output channels of each block."""
BLOCKNET_SIDE = 32
BlockNetSide = Literal[32, 64, 96, 128]
MORE_BLOCKS: Final[Mapping[BlockNetSide, int]] = {32: 0, 64: 1, 96: 1, 128: 2}
"""The sides that a `BlockNet` may have, and the blocks that it then has more."""
HIDDEN = 512
"""Length of the last hidden layer."""


class Architecture(Frozen):
    """The hyperparameters of a `BlockNet`.

    - `batch_norm`: whether each block ends with a batch norm.
    - `dropout`: the probability after each hidden linear layer; 0 for none.
    - `mean`, `std`: of each channel's pixels, in [0, 1], for recipes with normalised inputs.
    - `temperature`: logits are divided by it, so that their softmax is calibrated.
    - `width`: channels and hidden units are multiplied by it; above 1 in teachers alone.
    - `side`: of the images. Above 32 there are more blocks, and the outputs of the first three are
      pooled to the places that they have at 32, where they are returned as layers.
    """

    classes: int
    conv_blocks: Literal[2, 3]
    batch_norm: bool
    dropout: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    temperature: float = 1.0
    width: int = 1
    side: BlockNetSide = 32

    @property
    def channels(self) -> tuple[tuple[int, int, int], ...]:
        """Input, middle and output channels of each block."""
        return tuple(
            (inner * self.width if number else inner, middle * self.width, outer * self.width)
            for number, (inner, middle, outer) in enumerate(CHANNELS[: self.blocks])
        )

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return self.conv_blocks + MORE_BLOCKS[self.side]

    @property
    def hidden(self) -> int:
        """Length of the last hidden layer."""
        return HIDDEN * self.width

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""
        named = CONV_LAYERS[: self.conv_blocks]
        blocks: list[LayerSpec] = [
            layer_of(name, channels[2], BLOCKNET_SIDE >> halvings, BLOCKNET_SIDE >> halvings)
            for halvings, (name, channels) in enumerate(
                zip(named, self.channels, strict=False), start=1
            )
        ]
        return NetworkSpec(
            family="blocknet",
            side=self.side,
            layers=(
                *blocks,
                layer_of("penultimate", self.hidden),
                layer_of("logits", self.classes),
            ),
            searched=("conv2", "logits"),
            classes="logits",
            novelty=("conv2", "penultimate"),
        )

    @property
    def title(self) -> str:
        """What the network is, in words."""
        return "A small convolutional network"

    @property
    def credit(self) -> str:
        """Where its first weights are from; they are random."""
        return ""

    @property
    def text(self) -> str:
        """The `network.json` of version 1, of which the id of a network is made.

        It has no width of 1 and no side of 32, so that networks keep the id that they had before
        there were others.
        """
        usual = {"width": 1, "side": BLOCKNET_SIDE}
        left_out = {name for name, value in usual.items() if getattr(self, name) == value}
        return self.model_dump_json(indent=1, exclude=left_out) + "\n"

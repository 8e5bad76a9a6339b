"""Networks as data: their layers, their files, and the hyperparameters of a `BlockNet`.

Must not know PyTorch.
"""

from math import prod
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, TypeAdapter, model_validator

from training.base_model import Frozen

Layer = Literal["conv1", "conv2", "conv3", "penultimate", "logits"]

LAYERS: tuple[Layer, ...] = get_args(Layer)
WEIGHTS = "model.safetensors"
ARCHITECTURE = "network.json"
"""The files of a network."""
CHANNELS = ((3, 32, 64), (64, 128, 128), (128, 256, 256))
"""Input, middle and output channels of each block."""
BLOCKNET_SIDE = 32
HIDDEN = 512
"""Length of the last hidden layer."""


class Architecture(Frozen):
    """The hyperparameters of a `BlockNet`.

    - `batch_norm`: whether each block ends with a batch norm.
    - `dropout`: the probability after each hidden linear layer; 0 for none.
    - `mean`, `std`: of each channel's pixels, in [0, 1], for recipes with normalised inputs.
    - `temperature`: logits are divided by it, so that their softmax is calibrated.
    - `width`: channels and hidden units are multiplied by it; above 1 in teachers alone.
    """

    classes: int
    conv_blocks: Literal[2, 3]
    batch_norm: bool
    dropout: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    temperature: float = 1.0
    width: int = 1

    @property
    def channels(self) -> tuple[tuple[int, int, int], ...]:
        """Input, middle and output channels of each block."""
        return tuple(
            (inner * self.width if number else inner, middle * self.width, outer * self.width)
            for number, (inner, middle, outer) in enumerate(CHANNELS[: self.conv_blocks])
        )

    @property
    def hidden(self) -> int:
        """Length of the last hidden layer."""
        return HIDDEN * self.width


class LayerSpec(Frozen):
    """A layer: its name, the length of its vectors, and their shape.

    A shape is (channels, rows, columns), and the vector channel-major, or it is (length,).
    """

    name: Layer
    length: int
    shape: tuple[int, ...]

    @property
    def places(self) -> tuple[int, int] | None:
        """The rows and columns of a layer over places of the image, else None."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if prod(self.shape) != self.length:
            raise ValueError(f"a layer of shape {self.shape} does not have length {self.length}")
        return self


class NetworkSpec(Frozen):
    """What a user of a network needs to know: its input and its layers.

    - `side`: of the square RGB image that it takes, in pixels.
    - `layers`: all, in order from the input.
    - `searched`: the layers with an index; the first is the default.
    - `classes`: the layer with one value per class.
    - `novelty`: the layers by which novelty is measured, over places and without.
    """

    family: Literal["blocknet"]
    side: int = Field(ge=32, le=224)
    layers: tuple[LayerSpec, ...]
    searched: tuple[Layer, ...]
    classes: Layer
    novelty: tuple[Layer, Layer]

    @property
    def served(self) -> tuple[Layer, ...]:
        """The layers that a service computes, in order from the input."""
        needed = {*self.searched, *self.novelty, self.classes}
        return tuple(one.name for one in self.layers if one.name in needed)

    def layer(self, name: Layer) -> LayerSpec:
        """Return the layer of that name, which must exist."""
        return next(one for one in self.layers if one.name == name)


def describe_blocknet(architecture: Architecture) -> NetworkSpec:
    """Return the input and the layers of a `BlockNet`."""
    shapes: dict[Layer, tuple[int, ...]] = {
        name: (channels[2], BLOCKNET_SIDE >> halvings, BLOCKNET_SIDE >> halvings)
        for halvings, (name, channels) in enumerate(
            zip(LAYERS, architecture.channels, strict=False), start=1
        )
    }
    shapes |= {"penultimate": (architecture.hidden,), "logits": (architecture.classes,)}
    return NetworkSpec(
        family="blocknet",
        side=BLOCKNET_SIDE,
        layers=tuple(
            LayerSpec(name=name, length=prod(shape), shape=shape) for name, shape in shapes.items()
        ),
        searched=("conv2", "logits"),
        classes="logits",
        novelty=("conv2", "penultimate"),
    )


class NetworkFile(NetworkSpec):
    """The contents of `network.json`. Until version 1 of bundles, it was the architecture alone."""

    architecture: Architecture


def architecture_text(architecture: Architecture) -> str:
    """Return the `network.json` of version 1, of which the id of a network is made.

    It has no width of 1, so that networks keep the id that they had before there were others.
    """
    left_out = {"width"} if architecture.width == 1 else None
    return architecture.model_dump_json(indent=1, exclude=left_out) + "\n"


def read_architecture(file: Path) -> Architecture:
    """Read the architecture of either version.

    Raises:
        ValueError: the file is damaged, or its layers are not those of its architecture.

    """
    read = TypeAdapter(NetworkFile | Architecture).validate_json(file.read_bytes())
    if isinstance(read, Architecture):
        return read
    if dict(describe_blocknet(read.architecture)) != {
        name: getattr(read, name) for name in NetworkSpec.model_fields
    }:
        raise ValueError(f"{file.name} describes other layers than its architecture has")
    return read.architecture

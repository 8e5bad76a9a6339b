"""The layers and hyperparameters of a `BlockNet`, as data. Must not know PyTorch."""

from typing import Literal, get_args

from training.base_model import Frozen

Layer = Literal["conv1", "conv2", "conv3", "penultimate", "logits"]

LAYERS: tuple[Layer, ...] = get_args(Layer)
CHANNELS = ((3, 32, 64), (64, 128, 128), (128, 256, 256))
"""Input, middle and output channels of each block."""


class Architecture(Frozen):
    """The hyperparameters of a `BlockNet`.

    - `batch_norm`: whether each block ends with a batch norm.
    - `dropout`: the probability after each hidden linear layer; 0 for none.
    - `mean`, `std`: of each channel's pixels, in [0, 1], for recipes with normalised inputs.
    - `temperature`: logits are divided by it, so that their softmax is calibrated.
    """

    classes: int
    conv_blocks: Literal[2, 3]
    batch_norm: bool
    dropout: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    temperature: float = 1.0

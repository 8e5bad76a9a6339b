"""Decoders: draw a picture from the vector of an image at one layer, in NumPy.

A picture shows what the layer keeps of an image (after Dosovitskiy and Brox, 2016). Only the
direction of a vector counts, as in a search. Works on arrays; must not know how a decoder is
trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from training.base_model import Frozen
from training.data.preprocessing import Pixels
from training.index.cosine import Vectors, normalise
from training.models.layers import Layer, NetworkSpec

PICTURE_SIDE: Final = 32
"""Sides of the pictures in pixels, for networks of any input size."""
WIDTHS: Final = {4: 96, 8: 64, 16: 32, 32: 24}
"""Channels of a picture that is being drawn, by its side."""
SEED_SIDE: Final = 4
SEED_CHANNELS: Final = 32
"""Side and channels of the first stage, at a layer that is not over places of the image."""

Stages = tuple[tuple[Vectors, Vectors], ...]
"""Weights and biases, in order from the vector to the picture."""


class DecoderQuality(Frozen):
    """How like the held-out images the pictures drawn from their vectors are, on average.

    `psnr` is in dB, of the mean squared error of all pixels. `ssim` is the structural similarity of
    Wang et al. (2004).
    """

    psnr: float
    ssim: float


class DecoderFileError(RuntimeError):
    """The file does not hold the decoders of a network; the message names it."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """The decoder of a layer of this shape.

    The first stage is a 3x3 convolution at a layer over places of the image, else a linear layer.
    All others are 3x3 convolutions. Each but the first and the last doubles the picture before, and
    each but the last ends with a ReLU.
    """

    shape: tuple[int, ...]
    stages: Stages

    def __call__(self, vectors: Vectors) -> Pixels:
        """Draw pictures, uint8 [N, 32, 32, 3], from vectors [N, dimension] of any length."""
        hidden = directions(vectors)
        if starts_with_places(self.shape):
            hidden = hidden.reshape(-1, *self.shape)
        for number, (weight, bias) in enumerate(self.stages):
            if weight.ndim == 2:
                hidden = hidden @ weight.T + bias
                hidden = hidden.reshape(-1, SEED_CHANNELS, SEED_SIDE, SEED_SIDE)
            else:
                if 0 < number < len(self.stages) - 1:
                    hidden = hidden.repeat(2, axis=2).repeat(2, axis=3)
                hidden = _convolve(hidden, weight, bias)
            if number < len(self.stages) - 1:
                hidden = hidden.clip(min=0)
        pictures: Pixels = (
            (hidden.transpose(0, 2, 3, 1) * 255).round().clip(0, 255).astype(np.uint8)
        )
        return pictures


def shapes(layer: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of the stages that draw from a layer of this shape."""
    if starts_with_places(layer):
        side, channels = layer[1], WIDTHS[layer[1]]
        found: list[tuple[int, ...]] = [(channels, layer[0], 3, 3)]
    else:
        side, channels = SEED_SIDE, SEED_CHANNELS
        found = [(channels * side * side, int(np.prod(layer)))]
    while side < PICTURE_SIDE:
        side *= 2
        found.append((WIDTHS[side], channels, 3, 3))
        channels = WIDTHS[side]
    return [*found, (3, channels, 3, 3)]


def starts_with_places(shape: tuple[int, ...]) -> bool:
    """Return whether doubling the places of a layer of this shape leads to a picture."""
    return len(shape) == 3 and shape[1] == shape[2] and shape[1] in WIDTHS


def directions(vectors: Vectors) -> Vectors:
    """Return vectors [N, dimension] scaled to a root mean square of 1, the input of a decoder."""
    unit = normalise(vectors)
    scaled: Vectors = unit * np.float32(unit.shape[1] ** 0.5)
    return scaled


def write(decoders: Mapping[Layer, Decoder], file: Path) -> None:
    """Write the decoders of a network as fp16."""
    state: dict[str, npt.NDArray[Any]] = {}
    for layer, decoder in decoders.items():
        for number, (weight, bias) in enumerate(decoder.stages):
            state[f"{layer}.{number}.weight"] = weight.astype(np.float16)
            state[f"{layer}.{number}.bias"] = bias.astype(np.float16)
    file.write_bytes(save(state))


def read(file: Path, spec: NetworkSpec) -> dict[Layer, Decoder]:
    """Read the decoders of a network, in the order of its layers.

    Raises:
        DecoderFileError: the file is missing or damaged, or its decoders are of another network.

    """
    try:
        state = {name: array.astype(np.float32) for name, array in load(file.read_bytes()).items()}
    except (OSError, SafetensorError) as error:
        raise DecoderFileError(f"{file} cannot be read: {error}") from error
    decoders: dict[Layer, Decoder] = {}
    for layer in spec.pictured:
        expected = shapes(layer.shape)
        if f"{layer.name}.0.weight" not in state:
            continue
        stages = []
        for number, shape in enumerate(expected):
            weight = state.pop(f"{layer.name}.{number}.weight", None)
            bias = state.pop(f"{layer.name}.{number}.bias", None)
            if weight is None or bias is None or (weight.shape, bias.shape) != (shape, shape[:1]):
                raise DecoderFileError(f"{file} has no decoder that fits {layer.name}")
            stages.append((weight, bias))
        decoders[layer.name] = Decoder(layer.shape, tuple(stages))
    if state or not decoders:
        raise DecoderFileError(f"{file} does not hold the decoders of this network")
    return decoders


def _convolve(hidden: Vectors, weight: Vectors, bias: Vectors) -> Vectors:
    """Compute the convolution of [N, C, H, W] with [D, C, 3, 3], padded: [N, D, H, W]."""
    count, channels, rows, columns = hidden.shape
    padded = np.pad(hidden, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count * rows * columns, channels * 9)
    convolved: Vectors = patches @ weight.reshape(len(weight), -1).T + bias
    return convolved.reshape(count, rows, columns, -1).transpose(0, 3, 1, 2)

"""Quantizes convolutions of an OpenVINO model to int8, by fake-quantize operations.

OpenVINO turns a convolution between fake-quantize operations into an int8 one. Needs the optional
package openvino. Knows graphs; nothing of images.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

LEVELS: Final = 256
"""Quantization levels of a convolution's input. Weights have one fewer, symmetric around 0."""


def fake_quantize(model: ov.Model, inputs: Mapping[str, tuple[float, float]]) -> None:
    """Quantize the inputs and weights of the named convolutions in `model`.

    Args:
        model: changed in place.
        inputs: least and greatest activation of each convolution, by its module's name.

    Raises:
        RuntimeError: the model has no convolution of some name.

    """
    missing = set(inputs)
    for convolution in model.get_ordered_ops():
        if convolution.get_type_name() != "Convolution":
            continue
        constant = convolution.input_value(1).get_node()
        if constant.get_type_name() == "Convert":  # weights stored as fp16
            constant = constant.input_value(0).get_node()
        name = _module(constant.get_friendly_name())
        if name not in inputs:
            continue
        missing.remove(name)
        weights = constant.get_data().astype(np.float32)
        # Clipped, as a channel may be all 0.
        largest = np.abs(weights).max((1, 2, 3), keepdims=True).clip(1e-12)
        least, greatest = inputs[name]
        _quantize(convolution.input(0), np.float32(least), np.float32(greatest), LEVELS)
        convolution.input(1).replace_source_output(ops.constant(weights).output(0))
        _quantize(convolution.input(1), -largest, largest, LEVELS - 1)
    if missing:
        raise RuntimeError(f"the network has no convolution {', '.join(sorted(missing))}")


def _module(weights: str) -> str:
    """Return the module name that a constant of this name belongs to."""
    return weights.removesuffix("_half").removesuffix(".weight").removeprefix("network.")


def _quantize(
    port: ov.Input, least: np.ndarray | np.float32, greatest: np.ndarray | np.float32, levels: int
) -> None:
    source = port.get_source_output()
    quantized = ops.fake_quantize(source, least, greatest, least, greatest, levels)
    port.replace_source_output(quantized.output(0))

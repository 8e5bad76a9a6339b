"""A network of OpenVINO's with some of its convolutions in whole numbers of 8 bits.

It is told where to round, and multiplies what has been rounded as whole numbers. Of an optional
package. Knows graphs; nothing of images.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

STEPS: Final = 256
"""Values that an input of a convolution may have, and its weights one fewer: as many below 0 as
above."""


def fake_quantize(model: ov.Model, inputs: Mapping[str, tuple[float, float]]) -> None:
    """Have the named convolutions round their inputs, to steps between these, and their weights.

    Raises:
        RuntimeError: the network has none of some name.

    """
    missing = set(inputs)
    for convolution in model.get_ordered_ops():
        if convolution.get_type_name() != "Convolution":
            continue
        constant = convolution.input_value(1).get_node()
        if constant.get_type_name() == "Convert":  # of weights that are stored as fp16
            constant = constant.input_value(0).get_node()
        name = _module(constant.get_friendly_name())
        if name not in inputs:
            continue
        missing.remove(name)
        weights = constant.get_data().astype(np.float32)
        largest = np.abs(weights).max((1, 2, 3), keepdims=True).clip(1e-12)  # some may be all 0
        least, greatest = inputs[name]
        _replace(convolution.input(0), np.float32(least), np.float32(greatest), STEPS)
        convolution.input(1).replace_source_output(ops.constant(weights).output(0))
        _replace(convolution.input(1), -largest, largest, STEPS - 1)
    if missing:
        raise RuntimeError(f"the network has no convolution {', '.join(sorted(missing))}")


def _module(weights: str) -> str:
    """The name of the module that has weights of this name in the file."""
    return weights.removesuffix("_half").removesuffix(".weight").removeprefix("network.")


def _replace(
    given: ov.Input, least: np.ndarray | np.float32, greatest: np.ndarray | np.float32, steps: int
) -> None:
    rounded = ops.fake_quantize(given.get_source_output(), least, greatest, least, greatest, steps)
    given.replace_source_output(rounded.output(0))

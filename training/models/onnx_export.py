"""The network as ONNX, so that other runtimes can run it: uint8 in, three representations out.

Preprocessing and temperature are inside, as in `BlockNet`; the number of images is free. What is
written has been run, and agrees with torch. Knows networks and files; nothing of bundles.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from training.data.preprocessing import SIZE
from training.models.blocknet import BlockNet, Layer

INPUT: Final = "images"
OUTPUTS: Final[tuple[Layer, ...]] = ("conv2", "penultimate", "logits")
EXAMPLES, CHECKED = 2, 3
"""Images that the network is traced with, and as many as it is checked with: not the same."""
TOLERANCE: Final = 1e-3
"""How far a number may lie from torch's, in units of the layer's standard deviation."""
SMALL: Final = 1024
"""Up to so many numbers, a constant is not worth being stored as fp16."""


class OnnxError(RuntimeError):
    """The file does not say what the network says; the message has by how much."""


class _Outputs(nn.Module):
    def __init__(self, network: BlockNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network.representations(images, OUTPUTS)
        return tuple(found[layer] for layer in OUTPUTS)


def write(network: BlockNet, file: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a network in evaluation mode as one ONNX file, and check it.

    Args:
        network: on any device.
        file: where to.
        dtype: of the weights in the file; they are multiplied as fp32.

    Raises:
        OnnxError: what was written is another network.

    """
    network = copy.deepcopy(network).cpu()
    with _quietly():
        program = torch.onnx.export(
            _Outputs(network),
            (_noise(EXAMPLES),),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - the dynamo exporter gives one
    model = program.model_proto
    for value in (*model.graph.node, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]  # where in torch's source it came from
    if dtype == torch.float16:
        _halve(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    check(network, file)


@torch.inference_mode()
def check(network: BlockNet, file: Path) -> None:
    """Run the file by ONNX's own reference and compare it with torch.

    Raises:
        OnnxError: they do not agree; says at which layer, and by how much.

    """
    images = _noise(CHECKED)
    expected = network.representations(images, OUTPUTS)
    found = ReferenceEvaluator(str(file)).run(None, {INPUT: images.numpy()})
    for layer, one in zip(OUTPUTS, found, strict=True):
        wanted = expected[layer].numpy()
        if one.shape != wanted.shape:
            raise OnnxError(f"{file} gives {layer} as {one.shape}, the network as {wanted.shape}")
        apart = float(np.abs(one - wanted).max())
        if not apart <= TOLERANCE * float(wanted.std()):  # nor where it is not a number
            raise OnnxError(f"{file} gives {layer} up to {apart:.2g} from what the network gives")


def _noise(count: int) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=drawn)


def _halve(model: ModelProto) -> None:
    """Store the weights as fp16, each cast back where it is used."""
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if weights.data_type != TensorProto.FLOAT or values.size <= SMALL:
            continue
        name = weights.name
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [weights.name], [name], to=TensorProto.FLOAT))
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch says of its own making while it exports."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)

"""Export of the network to ONNX: uint8 images in, all layers out, any batch size.

Preprocessing and temperature are included, as in `Network`. Each written file is run and compared
with torch. Works on networks and files; must not know bundles.
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

from training.models.layers import Layer
from training.models.network import Network

INPUT: Final = "images"
TRACED_IMAGES, CHECKED_IMAGES = 2, 1
"""Batch sizes of tracing and checking. They differ, so that a fixed batch size is detected."""
TOLERANCE: Final = 1e-3
"""Maximum difference from torch, in standard deviations of the layer."""
MAX_FP32_SIZE: Final = 1024
"""Constants of up to this many values stay fp32: storing them as fp16 saves too little."""


class OnnxError(RuntimeError):
    """The file and the network differ; the message states the layer and the difference."""


class _Outputs(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        layers = exported(self.network)
        outputs = self.network.representations(images, layers)
        return tuple(outputs[layer] for layer in layers)


def exported(network: Network) -> tuple[Layer, ...]:
    """Return all layers in the order in which the file has them, the served ones first."""
    return (*network.spec.served, *network.spec.unserved)


def write(network: Network, file: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a network in evaluation mode as one ONNX file, and check it.

    Args:
        network: on any device.
        file: to write.
        dtype: of the stored weights; computation is always fp32.

    Raises:
        OnnxError: the written file and the network differ.

    """
    network = copy.deepcopy(network).cpu()
    with _exporter_silenced():
        program = torch.onnx.export(
            _Outputs(network),
            (_noise(TRACED_IMAGES, network.spec.side),),
            input_names=[INPUT],
            output_names=list(exported(network)),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - the dynamo exporter returns one
    model = program.model_proto
    for value in (*model.graph.node, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]  # lines of torch's source code
    if dtype == torch.float16:
        _store_as_fp16(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    check(network, file)


@torch.inference_mode()
def check(network: Network, file: Path) -> None:
    """Compare the file, run by ONNX's reference evaluator, with the network run by torch.

    Raises:
        OnnxError: they differ; the message states the layer and the difference.

    """
    layers = exported(network)
    images = _noise(CHECKED_IMAGES, network.spec.side)
    expected = network.representations(images, layers)
    outputs = ReferenceEvaluator(str(file)).run(None, {INPUT: images.numpy()})
    for layer, output in zip(layers, outputs, strict=True):
        reference = expected[layer].numpy()
        if output.shape != reference.shape:
            raise OnnxError(
                f"{file} returns {layer} as {output.shape}, the network as {reference.shape}"
            )
        difference = float(np.abs(output - reference).max())
        if not difference <= TOLERANCE * float(reference.std()):  # also true for NaN
            raise OnnxError(f"{file} differs from the network at {layer} by up to {difference:.2g}")


def _noise(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def _store_as_fp16(model: ModelProto) -> None:
    """Store the weights as fp16, each cast back to fp32 where it is used."""
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if weights.data_type != TensorProto.FLOAT or values.size <= MAX_FP32_SIZE:
            continue
        name = weights.name
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [weights.name], [name], to=TensorProto.FLOAT))
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)


@contextmanager
def _exporter_silenced() -> Iterator[None]:
    """Silence torch's warnings and log lines about its own exporter."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)

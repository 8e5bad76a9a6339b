"""ONNX export: the same network in one file, for any batch size."""

from pathlib import Path

import onnx
import pytest
import torch

from training.models import onnx_export
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet
from training.models.onnx_export import OnnxError


def network(seed: int = 0) -> BlockNet:
    """Return a network that uses every option, with batch norm statistics of random images."""
    torch.manual_seed(seed)
    made = BlockNet(
        Architecture(
            classes=7,
            conv_blocks=3,
            batch_norm=True,
            dropout=0.3,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.3, 0.25),
            temperature=1.7,
        )
    )
    made(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8))
    return made.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file written from that network."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx_export.write(network(), path)
    return path


def test_the_input_is_uint8_images_of_any_batch_size(file: Path) -> None:
    (tensor,) = onnx.load(file).graph.input
    sizes = [one.dim_param or one.dim_value for one in tensor.type.tensor_type.shape.dim]
    assert (tensor.name, tensor.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert sizes == ["batch", 3, 32, 32]


def test_the_outputs_are_all_layers_by_name_the_served_ones_first(file: Path) -> None:
    outputs = {one.name: one.type.tensor_type.shape.dim[1] for one in onnx.load(file).graph.output}
    assert [(name, size.dim_value) for name, size in outputs.items()] == [
        ("conv2", 8192),
        ("penultimate", 512),
        ("logits", 7),
        ("conv1", 16384),
        ("conv3", 4096),
    ]


def test_the_model_is_a_single_file(file: Path) -> None:
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_checking_detects_the_file_of_another_network(file: Path) -> None:
    onnx_export.check(network(), file)
    with pytest.raises(OnnxError, match="conv2"):
        onnx_export.check(network(seed=1), file)


def test_fp16_weights_halve_the_file(file: Path, tmp_path: Path) -> None:
    rounded = network()
    rounded.load_state_dict(
        {
            name: one.half().float() if one.is_floating_point() else one
            for name, one in rounded.state_dict().items()
        }
    )
    onnx_export.write(rounded, tmp_path / "half.onnx", torch.float16)
    assert (tmp_path / "half.onnx").stat().st_size < 0.51 * file.stat().st_size

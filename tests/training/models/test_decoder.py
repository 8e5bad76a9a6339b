"""Decoders: pictures from vectors, as the trained modules draw them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from training.models import decoder
from training.models.architecture import Architecture
from training.models.decoder import Decoder, DecoderFileError, shapes
from training.models.layers import NetworkSpec
from training.trainer.decoders import DecoderModule

SPEC: NetworkSpec = Architecture(classes=10, conv_blocks=3, batch_norm=True, dropout=0.3).spec
LAYERS = tuple(layer.name for layer in SPEC.layers)


def module(shape: tuple[int, ...]) -> DecoderModule:
    torch.manual_seed(0)
    made = DecoderModule(shape)
    torch.nn.init.normal_(made.stages[-1].get_parameter("weight"), std=0.05)
    return made


def vectors(length: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, length, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", LAYERS)
def test_numpy_draws_what_torch_draws(layer: str) -> None:
    spec = next(one for one in SPEC.layers if one.name == layer)
    made = module(spec.shape)
    rows = vectors(spec.length)
    with torch.inference_mode():
        expected = made(rows).permute(0, 2, 3, 1).clamp(0, 1).numpy() * 255
    pictures = made.export()(rows.numpy())
    assert pictures.shape == (3, 32, 32, 3)
    assert pictures.dtype == np.uint8
    assert pictures.std() > 5  # it is not one colour
    assert np.abs(pictures - expected).max() <= 2  # rounded weights, rounded pixels


def test_only_the_direction_of_a_vector_counts() -> None:
    draw = module((512,)).export()
    rows = vectors(512).numpy()
    assert np.abs(draw(rows).astype(int) - draw(20 * rows)).max() <= 1
    assert not np.array_equal(draw(rows), draw(-rows))


def test_a_layer_whose_places_do_not_double_to_a_picture_is_read_as_one_vector() -> None:
    assert shapes((16, 7, 7))[0] == (512, 16 * 49)
    assert module((16, 7, 7)).export()(vectors(16 * 49).numpy()).shape == (3, 32, 32, 3)


def test_decoders_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = {layer.name: module(layer.shape).export() for layer in SPEC.layers}
    decoder.write(written, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size < 12_000_000
    read = decoder.read(tmp_path / "file", SPEC)
    assert tuple(read) == LAYERS
    for layer in SPEC.layers:
        rows = vectors(layer.length, 1).numpy()
        assert read[layer.name](rows).tolist() == written[layer.name](rows).tolist()


@pytest.mark.parametrize("damage", ["shape", "missing stage", "more", "bytes", "no file", "none"])
def test_decoders_of_another_network_are_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "decoders"
    decoder.write({"logits": module((10,)).export()}, file)
    arrays = load_file(file)
    if damage == "shape":
        save_file(arrays | {"logits.0.weight": arrays["logits.0.weight"][:, :9].copy()}, file)
    elif damage == "missing stage":
        save_file({name: one for name, one in arrays.items() if name != "logits.2.bias"}, file)
    elif damage == "more":
        save_file(arrays | {"conv9.0.bias": arrays["logits.0.bias"]}, file)
    elif damage == "bytes":
        file.write_bytes(b"no tensors")
    elif damage == "no file":
        file.unlink()
    else:
        save_file({}, file)
    with pytest.raises(DecoderFileError, match=str(file)):
        decoder.read(file, SPEC)


def test_a_decoder_is_only_its_stages() -> None:
    made = module((10,)).export()
    assert [weight.shape for weight, _ in made.stages] == shapes((10,))
    assert isinstance(made, Decoder)

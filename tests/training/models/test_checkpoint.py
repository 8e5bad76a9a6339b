"""Saving and loading a network."""

import json
from pathlib import Path

import pytest
import torch

from tests.support.factories import network
from training.models import checkpoint
from training.models.checkpoint import CheckpointError


def test_a_loaded_network_equals_the_saved_one(tmp_path: Path) -> None:
    saved = network(3, batch_norm=True, dropout=0.2)
    checkpoint.save(saved, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded.architecture == saved.architecture
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_network_is_loaded_in_evaluation_mode_at_fp32(tmp_path: Path) -> None:
    checkpoint.save(network(batch_norm=True), tmp_path, torch.float16)
    loaded = checkpoint.load(tmp_path)
    assert not loaded.training
    weight = loaded.state_dict()["output.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, network().output.weight.half().float())


def test_a_saved_network_is_safetensors_and_json_only(tmp_path: Path) -> None:
    checkpoint.save(network(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", "network.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "network.json"])
def test_a_missing_file_is_rejected_with_its_folder(name: str, tmp_path: Path) -> None:
    checkpoint.save(network(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{tmp_path} does not hold a network.*{name}"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "network.json"])
def test_a_damaged_file_is_rejected(name: str, tmp_path: Path) -> None:
    checkpoint.save(network(), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(CheckpointError, match="does not hold a network"):
        checkpoint.load(tmp_path)


def test_weights_of_another_architecture_are_rejected(tmp_path: Path) -> None:
    checkpoint.save(network(2), tmp_path / "two")
    checkpoint.save(network(3), tmp_path)
    (tmp_path / "two" / "network.json").replace(tmp_path / "network.json")
    with pytest.raises(CheckpointError, match="does not hold a network"):
        checkpoint.load(tmp_path)


def test_the_file_says_what_the_network_is(tmp_path: Path) -> None:
    checkpoint.save(network(3, classes=7), tmp_path)
    described = json.loads((tmp_path / "network.json").read_text())
    assert (described["family"], described["side"]) == ("blocknet", 32)
    shapes = {layer["name"]: layer["shape"] for layer in described["layers"]}
    assert shapes["conv2"] == [128, 8, 8]
    assert shapes["logits"] == [7]
    assert [layer["length"] for layer in described["layers"]] == [16384, 8192, 4096, 512, 7]


def test_each_described_layer_has_the_length_that_the_network_computes() -> None:
    for made in (network(2), network(3)):
        images = torch.zeros(1, 3, made.spec.side, made.spec.side, dtype=torch.uint8)
        outputs = made.eval().representations(images, made.layers)
        lengths = {layer.name: layer.length for layer in made.spec.layers}
        assert lengths == {name: vectors.shape[1] for name, vectors in outputs.items()}


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    saved = network(3)
    checkpoint.save(saved, tmp_path)
    (tmp_path / "network.json").write_text(saved.architecture.text)
    assert checkpoint.load(tmp_path).spec == saved.spec


def test_a_description_that_does_not_fit_the_architecture_is_rejected(tmp_path: Path) -> None:
    checkpoint.save(network(3), tmp_path)
    described = json.loads((tmp_path / "network.json").read_text())
    described["layers"][1] |= {"length": 4096, "shape": [64, 8, 8]}
    (tmp_path / "network.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="other layers than its architecture"):
        checkpoint.load(tmp_path)

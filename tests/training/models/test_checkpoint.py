"""Saving and loading a network."""

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
    assert loaded.output.weight.dtype == torch.float32
    assert torch.equal(loaded.output.weight, network().output.weight.half().float())


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

"""A network on disk: `model.safetensors` and `network.json` in one folder, without pickle.

Works on one network and one folder; must not know bundles.
"""

from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.models.architecture import Architecture, NetworkSpec, describe_blocknet
from training.models.blocknet import BlockNet

WEIGHTS = "model.safetensors"
ARCHITECTURE = "network.json"


class NetworkFile(NetworkSpec):
    """The contents of `network.json`. Until version 1 of bundles, it was the architecture alone."""

    architecture: Architecture


class CheckpointError(RuntimeError):
    """The folder does not hold a network; the message names it and the reason."""


def save(network: BlockNet, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights, as `dtype`, and the architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it readable by its owner only
    described = NetworkFile(**dict(network.spec), architecture=network.architecture)
    text = described.model_dump_json(indent=1)
    (folder / ARCHITECTURE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> BlockNet:
    """Read a network, as fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the architecture.

    """
    try:
        network = BlockNet(_read_architecture(folder / ARCHITECTURE))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not hold a network: {error}") from error
    return network.eval()


def architecture_text(architecture: Architecture) -> str:
    """Return the `network.json` of version 1, of which the id of a network is made.

    It has no width of 1, so that networks keep the id that they had before there were others.
    """
    left_out = {"width"} if architecture.width == 1 else None
    return architecture.model_dump_json(indent=1, exclude=left_out) + "\n"


def _read_architecture(file: Path) -> Architecture:
    """Read the architecture of either version.

    Raises:
        ValueError: the file is damaged, or its layers are not those of its architecture.

    """
    read = TypeAdapter(NetworkFile | Architecture).validate_json(file.read_bytes())
    if isinstance(read, Architecture):
        return read
    if dict(describe_blocknet(read.architecture)) != {
        name: getattr(read, name) for name in NetworkSpec.model_fields
    }:
        raise ValueError(f"{file.name} describes other layers than its architecture has")
    return read.architecture

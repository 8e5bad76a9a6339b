"""A network on disk: `model.safetensors` and `network.json` in one folder, without pickle.

Works on one network and one folder; must not know bundles.
"""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.models.architecture import Architecture
from training.models.blocknet import BlockNet

WEIGHTS = "model.safetensors"
ARCHITECTURE = "network.json"


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
    description = network.architecture.model_dump_json(indent=1)
    (folder / ARCHITECTURE).write_text(description + "\n", encoding="utf-8")


def load(folder: Path) -> BlockNet:
    """Read a network, as fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the architecture.

    """
    try:
        architecture = Architecture.model_validate_json((folder / ARCHITECTURE).read_bytes())
        network = BlockNet(architecture)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not hold a network: {error}") from error
    return network.eval()

"""A network on disk: `model.safetensors` and `network.json` in one folder, without pickle.

Works on one network and one folder; must not know bundles.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save_file

from training.models.families import ARCHITECTURE, WEIGHTS, NetworkFile, read_architecture
from training.models.network import Network
from training.models.networks import make_network


class CheckpointError(RuntimeError):
    """The folder does not hold a network; the message names it and the reason."""


def save(network: Network, folder: Path, dtype: torch.dtype = torch.float32) -> None:
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


def load(folder: Path) -> Network:
    """Read a network, as fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the architecture.

    """
    try:
        network = make_network(read_architecture(folder / ARCHITECTURE))
        # Read, not mapped: a map of a file that is truncated ends the process.
        network.load_state_dict(load_bytes((folder / WEIGHTS).read_bytes()))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not hold a network: {error}") from error
    return network.eval()

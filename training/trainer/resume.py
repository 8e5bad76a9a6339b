"""Saves the state of a training after each epoch, so that a stopped run continues there.

One safetensors file has weights, optimizers and random states; its metadata has the curves. Knows
tensors and files; nothing of what is trained, or on which images.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from training.experiments.record import Epoch


@dataclass(frozen=True)
class TrainingState:
    """Everything that an epoch changes: a network, its optimizers and the random generators."""

    network: nn.Module
    optimizers: Sequence[Optimizer]
    generators: dict[str, torch.Generator]

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors; those of the network and the optimizers are views."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            for position, values in optimizer.state_dict()["state"].items():
                for name, tensor in values.items():
                    found[f"optimizer.{number}.{position}.{name}"] = tensor
        for name, generator in self.generators.items():
            found[f"generator.{name}"] = generator.get_state()
        return found

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Set the state in place, where a CUDA graph reads it. Optimizers must have taken steps."""
        for name, tensor in self.tensors().items():
            if not name.startswith("generator."):
                tensor.copy_(saved[name])
        for name, generator in self.generators.items():
            generator.set_state(saved[f"generator.{name}"])


@dataclass(frozen=True)
class Progress:
    """The finished epochs of a run, and the seconds of their evaluations."""

    curves: tuple[Epoch, ...] = ()
    evaluating: float = 0.0


@dataclass(frozen=True)
class Resume:
    """A file with the state of one unfinished run. `key` names the run and its images."""

    file: Path
    key: str

    def save(self, state: TrainingState, progress: Progress) -> None:
        """Write the state atomically."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        metadata = {
            "key": self.key,
            "curves": json.dumps([one.model_dump() for one in progress.curves]),
            "evaluating": str(progress.evaluating),
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.tensors().items()}
        save_file(tensors, temporary, metadata)
        temporary.replace(self.file)

    def load(self, state: TrainingState) -> Progress:
        """Restore the state and return the finished epochs: none if there is no usable file."""
        try:
            with safe_open(self.file, "pt") as saved:
                metadata = saved.metadata() or {}
                if metadata.get("key") != self.key:
                    return Progress()
                tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return Progress()
        if tensors.keys() != state.tensors().keys():
            return Progress()
        state.restore(tensors)
        curves = (Epoch.model_validate(one) for one in json.loads(metadata["curves"]))
        return Progress(tuple(curves), float(metadata["evaluating"]))

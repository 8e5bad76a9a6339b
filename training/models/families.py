"""The families of networks, as one table, and the file that describes a network of any of them.

Must not know PyTorch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SerializeAsAny, ValidationError, model_validator

from training.models.architecture import Architecture
from training.models.layers import Family, NetworkSpec
from training.models.pretrained_architecture import PretrainedArchitecture

WEIGHTS = "model.safetensors"
ARCHITECTURE = "network.json"
"""The files of a network."""

AnyArchitecture = Architecture | PretrainedArchitecture

ARCHITECTURES: Final[Mapping[Family, type[AnyArchitecture]]] = {
    "blocknet": Architecture,
    "pretrained": PretrainedArchitecture,
}
"""The hyperparameters of each family. `networks` has the networks."""


class NetworkFile(NetworkSpec):
    """The contents of `network.json`. Until version 1 of bundles, it was the architecture alone."""

    architecture: SerializeAsAny[AnyArchitecture]

    @model_validator(mode="before")
    @classmethod
    def _of_family(cls, given: Any) -> Any:  # Any: as parsed from JSON
        """Read the architecture as one of the family that the file names."""
        if isinstance(given, dict) and isinstance(given.get("architecture"), dict):
            family = ARCHITECTURES.get(given.get("family"))  # type: ignore[arg-type]
            if family:
                return {**given, "architecture": family.model_validate(given["architecture"])}
        return given

    @model_validator(mode="after")
    def _describes(self) -> "NetworkFile":
        """Check that the layers are those of the architecture."""
        described = {name: getattr(self, name) for name in NetworkSpec.model_fields}
        if dict(self.architecture.spec) != described:
            raise ValueError("it describes other layers than its architecture has")
        return self


def read_architecture(file: Path) -> AnyArchitecture:
    """Read the architecture of either version.

    Raises:
        ValueError: the file is damaged, or its layers are not those of its architecture.

    """
    content = file.read_bytes()
    try:
        return Architecture.model_validate_json(content)
    except ValidationError:
        return NetworkFile.model_validate_json(content).architecture

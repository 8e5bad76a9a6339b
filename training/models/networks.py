"""The network of each family, as one table. `families` has their hyperparameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from training.models.blocknet import BlockNet
from training.models.families import AnyArchitecture
from training.models.layers import Family
from training.models.network import Network


def _pretrained(architecture: Any) -> Network:  # Any: each family has its own type
    from training.models.pretrained import PretrainedNet  # noqa: PLC0415  imports an extra, timm

    made: Network = PretrainedNet(architecture)
    return made


NETWORKS: Final[Mapping[Family, Callable[[Any], Network]]] = {
    "blocknet": BlockNet,
    "pretrained": _pretrained,
}


def make_network(architecture: AnyArchitecture) -> Network:
    """Return a network with random weights.

    Raises:
        MissingExtraError: the library that has the family's networks is not installed.

    """
    return NETWORKS[architecture.spec.family](architecture)

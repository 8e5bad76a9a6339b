"""The part of the public API that needs PyTorch: the network, its novelty, its device."""

from training.models.blocknet import BlockNet
from training.models.device import autocast, pick_device, pick_precision
from training.models.network import Network
from training.models.novelty_module import NoveltyModule

__all__ = ["BlockNet", "Network", "NoveltyModule", "autocast", "pick_device", "pick_precision"]

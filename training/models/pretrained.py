"""`PretrainedNet`: an ImageNet network as a body, and a linear head that is trained.

Its input is uint8 pixels and it normalises them itself, so training and serving cannot differ.
Must not know data sets, devices or files. Needs the optional package timm.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import timm
import torch
from torch import Tensor, nn

from training.models import weights
from training.models.layers import Layer
from training.models.network import Network, OnImages, ignore
from training.models.pretrained_architecture import BODIES, PretrainedArchitecture

REMEMBERED: Final = 50_000
"""Images whose outputs are remembered: 5 KB each."""
MIN_DEVIATION: Final = 0.25
"""The least standard deviation that a feature is divided by, as a share of the mean one.

Else features that hardly vary would count as much, with the errors of rounding in them."""
EMPHASIS: Final = 2.0
"""How much longer features are made in the directions by which the classes are told apart.

Of 551 photos of flowers, the ten nearest then have the query's class in 0.83, and in 0.73 without.
"""
BATCH: Final = 10
"""Images that a frozen body sees at a time: of 50, each takes a third longer on a CPU."""


class PretrainedNet(Network):
    """A body, a standardisation of its features, and a linear layer if there are classes.

    - `feature_map`: the last feature map of the body, less the mean of each feature over training
      images, divided by its standard deviation and by the number of places.
    - `features`: its sum over the places, so the pooled and normalised features. After training,
      both are longer in the directions that the last layer reads.
    - `texture`: mean and standard deviation over places of each channel of an early feature map.
    """

    architecture: PretrainedArchitecture
    centre: Tensor
    deviation: Tensor
    directions: Tensor

    def __init__(self, architecture: PretrainedArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        body = BODIES[architecture.body]
        self.body: nn.Module = timm.create_model(body.timm_name, num_classes=0, exportable=True)
        self.register_buffer("centre", torch.zeros(body.channels))
        self.register_buffer("deviation", torch.ones(body.channels))
        if architecture.classes:
            self.register_buffer("directions", torch.zeros(architecture.classes, body.channels))
            self.output = nn.Linear(body.channels, architecture.classes)
        if not architecture.fine_tuned:
            self.body.requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def load_body(self) -> None:
        """Read the pretrained weights of the body.

        Raises:
            WeightsError: they are not there, or are others.

        """
        own = self.body.state_dict()
        # The same network in the same order under other names, with a classifier at the end.
        given = list(weights.read(self.architecture.body).values())[: len(own)]
        if [one.shape for one in own.values()] != [one.shape for one in given]:
            raise weights.WeightsError("the weights do not fit the network that timm has")
        self.body.load_state_dict(dict(zip(own, given, strict=True)))

    @torch.no_grad()
    def standardise(self, images: Tensor, on_images: OnImages = ignore) -> None:
        """Set the mean and the standard deviation of features to those of training images."""
        self.eval()
        pooled = self._recall(images, on_images)[:, -len(self.centre) :].to(self.centre.device)
        self.centre.copy_(pooled.mean(0))
        deviation = pooled.std(0).nan_to_num(1.0)
        self.deviation.copy_(deviation.clamp(min=MIN_DEVIATION * deviation.mean().item() or 1.0))

    @torch.no_grad()
    def finish(self) -> None:
        """Find the directions in which the last layer tells classes apart; the logits stay."""
        weight = self.output.weight - self.output.weight.mean(0)
        found = torch.linalg.svd(weight, full_matrices=False).Vh[:-1]  # the last has no part in it
        self.directions.zero_()
        self.directions[: len(found)] = found

    def train(self, mode: bool = True) -> "PretrainedNet":
        """Set the mode of training; a frozen body stays in evaluation mode."""
        super().train(mode)
        if not self.architecture.fine_tuned:
            self.body.eval()
        return self

    def recall(self, images: Tensor, on_images: OnImages = ignore) -> Tensor:
        """Return the outputs [N, texture and pooled features] of a frozen body for images.

        They are computed once for each image, and remembered by its pixels.
        """
        if self.architecture.fine_tuned or images.ndim == 2:
            return images
        return self._recall(images, on_images)

    @torch.no_grad()
    def _recall(self, images: Tensor, on_images: OnImages) -> Tensor:
        known = _memory(self._body_id())
        keys = [hashlib.blake2b(one.cpu().numpy().tobytes()).digest() for one in images]
        missing = {key: row for row, key in enumerate(keys) if key not in known}
        found: dict[bytes, Tensor] = {}
        device = self.centre.device
        for start in range(0, len(missing), BATCH):
            part = dict(list(missing.items())[start : start + BATCH])
            batch = images[list(part.values())].to(device, memory_format=torch.channels_last)
            texture, features = self._body_outputs(batch)
            outputs = torch.cat((texture, features.mean((2, 3))), 1).float().cpu()
            found |= dict(zip(part, outputs, strict=True))
            on_images(len(part))
        recalled = torch.stack([found[key] if key in found else known[key] for key in keys])
        known.update(found)
        while len(known) > REMEMBERED:
            known.popitem(last=False)
        return recalled.to(images.device)

    def representations(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Compute the outputs of layers for uint8 images, each [N, dimension].

        Args:
            images: [N, 3, side, side], or what `recall` returned for them; then there is no
                `feature_map`.
            layers: to return.

        Raises:
            ValueError: the network has no layer of that name; the message lists its layers.

        """
        self.require(layers)
        outputs: dict[Layer, Tensor] = {}
        if images.ndim == 2:
            texture, pooled = images.split(
                [images.shape[1] - len(self.centre), len(self.centre)], 1
            )
            features = (pooled - self.centre) / self.deviation
        else:
            texture, found = self._body_outputs(images)
            channels = (1, -1, 1, 1)
            scaled = (found - self.centre.view(channels)) / self.deviation.view(channels)
            parts = (scaled / (found.shape[2] * found.shape[3])).flatten(2)
            features = parts.sum(2)
            outputs["feature_map"] = parts
        outputs["texture"] = texture
        outputs["features"] = features
        if self.architecture.classes:
            self._add_classes(outputs)
        return {name: outputs[name].flatten(1) for name in layers}

    def _add_classes(self, outputs: dict[Layer, Tensor]) -> None:
        """Add the logits, and make features longer in the directions that they are read from."""
        features, directions = outputs["features"], self.directions
        if "feature_map" in outputs:
            parts = outputs["feature_map"]
            outputs["feature_map"] = parts + EMPHASIS * directions.T @ (directions @ parts)
        outputs["features"] = features + EMPHASIS * features @ directions.T @ directions
        outputs["logits"] = self.output(features) / self.architecture.temperature

    def _body_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the texture [N, 2 channels] and the last feature map [N, channels, H, W]."""
        described = BODIES[self.architecture.body]
        pixels = (images.float() - described.mean) / described.std
        forward: Callable[..., tuple[Tensor, list[Tensor]]] = self.body.forward_intermediates  # type: ignore[assignment]  # timm has no types
        features, (early,) = forward(
            pixels, indices=[described.texture_block], intermediates_only=False
        )
        places = early.flatten(2)
        means = places.mean(2)
        squares = places.square().mean(2) - means.square()
        return torch.cat((means, squares.clamp(min=0).sqrt()), 1), features

    def _body_id(self) -> str:
        """Return a hash of the weights of the body, and of the device that it runs on."""
        digest = hashlib.blake2b(str(self.centre.device).encode())
        for tensor in self.body.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


@cache
def _memory(_body_id: str) -> OrderedDict[bytes, Tensor]:
    """Return what is remembered of a body, by the hashes of images."""
    return OrderedDict()

"""What every network can do, of any family. Must not know data sets, devices or files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.models.families import AnyArchitecture
from training.models.layers import Layer, NetworkSpec

OnImages = Callable[[int], None]


def ignore(_: int) -> None:
    """Take no notice of how many images have been seen."""


class Network(nn.Module, ABC):
    """A network on uint8 images [N, 3, side, side], which it normalises itself."""

    architecture: AnyArchitecture
    output: nn.Linear
    """The last layer, which computes the logits; a network without classes has none."""
    quantized: ClassVar[tuple[str, ...]] = ()
    """The convolutions that may run at int8, by the names of their modules."""

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers, as data."""
        return self.architecture.spec

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that `representations` can return, in order from the input."""
        return tuple(layer.name for layer in self.spec.layers)

    @property
    def rectified(self) -> Mapping[str, nn.Module]:
        """The modules that a ReLU follows, by the names of their layers; for diagnostics."""
        return {}

    def calibrate(self, temperature: float) -> None:
        """Divide logits by `temperature` from now on. Classes and cosines do not change."""
        self.architecture = self.architecture.model_copy(update={"temperature": temperature})

    def finish(self) -> None:
        """Set what follows from the trained weights."""

    def centre_logits(self) -> None:
        """Change the output layer so that the mean of the logits of any image is 0.

        Probabilities do not change. The cosine of two vectors of logits is then their correlation:
        without it, what all images have in common takes part in every score.
        """
        with torch.no_grad():
            self.output.weight.sub_(self.output.weight.mean(0))
            self.output.bias.sub_(self.output.bias.mean())

    def recall(self, images: Tensor, on_images: OnImages = ignore) -> Tensor:
        """Return what `representations` takes in place of images, so that it has less to compute.

        These are the images themselves, unless a part of the network is frozen. `on_images` is
        called with the number of images that this part has seen.
        """
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits [N, classes] of images, or of what `recall` returned for them.

        Raises:
            ValueError: the network knows no classes.

        """
        classes = self.spec.class_layer
        return self.representations(images, (classes,))[classes]

    @abstractmethod
    def representations(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Compute the outputs of layers for images, each [N, dimension].

        Raises:
            ValueError: the network has no layer of that name; the message lists its layers.

        """

    def require(self, layers: Sequence[Layer]) -> None:
        """Check that the network has these layers.

        Raises:
            ValueError: it lacks one.

        """
        if unknown := {*layers} - {*self.layers}:
            raise ValueError(
                f"no layer {sorted(unknown)}; this network has {', '.join(self.layers)}"
            )

"""Chooses the network for own images, and says why. Knows experiments; trains nothing."""

import math
from dataclasses import dataclass
from typing import Final

from training.experiments.catalogue import BEST, PRETRAINED, find
from training.experiments.config import Experiment
from training.models import weights
from training.models.pretrained_architecture import BODIES
from training.models.weights import WeightsError

STEPS_IMAGES: Final = 35_000
"""Training images for which the epochs of `best-3` were chosen: those of CIFAR-10."""
STEPS_SIDE: Final = 32
"""Their side in pixels."""
MIN_EPOCHS, MAX_EPOCHS = 10, 120
BODY: Final = "efficientnet_lite0"


@dataclass(frozen=True)
class Choice:
    """An experiment, and why it was chosen. With `scaled`, its epochs depend on the images."""

    experiment: Experiment
    reason: str
    scaled: bool = False

    def for_images(self, count: int) -> Experiment:
        """Return the experiment for this number of training images."""
        if not self.scaled:
            return self.experiment
        side = self.experiment.variant.side
        return self.experiment.with_epochs(epochs_for(self.experiment.config.epochs, count, side))


def choose(name: str | None) -> Choice:
    """Return the experiment of that name; by default, the best that can be trained here.

    Raises:
        UnknownExperimentError: no experiment has the name.
        WeightsError: it needs pretrained weights, which are not there.

    """
    if name is not None:
        experiment = find(name)
        if experiment.variant.family == PRETRAINED.variant.family:
            weights.require(BODY)
        return Choice(experiment, "as named", scaled=experiment.name.startswith(BEST.name))
    try:
        weights.require(BODY)
    except WeightsError as error:
        return Choice(BEST, f"as {error}", scaled=True)
    return Choice(PRETRAINED, f"as the weights of {BODIES[BODY].title} are there")


def epochs_for(epochs: int, count: int, side: int = STEPS_SIDE) -> int:
    """Scale epochs to a number of training images of a side in pixels.

    Fewer images need more epochs, but not as many steps: the number grows with the square root of
    what is missing to CIFAR-10's. An epoch of larger images takes longer by the square of their
    side, so the number falls with their side.
    """
    scaled = round(epochs * math.sqrt(STEPS_IMAGES / max(1, count)) * STEPS_SIDE / side)
    return min(MAX_EPOCHS, max(MIN_EPOCHS, scaled))

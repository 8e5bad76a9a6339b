"""What is measured about a network, as data: its calibration, its activation ranges.

Must not know how it is measured, nor PyTorch.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, FiniteFloat

from training.base_model import Frozen

MIN_CHECK_IMAGES: Final = 500
"""Minimum number of held-out images to measure the error of int8."""
MIN_SAME_CLASS: Final = 0.995
MIN_COSINE: Final = 0.999


class Calibration(Frozen):
    """The temperature that logits are divided by, and its effect on held-out probabilities.

    The temperature is fitted on the validation images; a final run uses its study's temperature.
    `error` is the expected calibration error over 15 bins of equal width, `loss` the cross
    entropy. Both are measured on the run's test images, before and after.
    """

    temperature: float
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    smallest, largest = bounds
    if not smallest <= 0 <= largest or smallest == largest:
        raise ValueError("a range must begin at or below 0, end at or above 0, and not be empty")
    return bounds


Range = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_in_order)]


class ActivationRanges(Frozen):
    """The smallest and largest input of each convolution that may run at int8, by its name.

    0 is one of the steps, because convolutions pad with it. The error was measured on `checks`
    held-out images: `same_class` is the share of equal predictions, `least_cosine` the smallest
    cosine at `conv2` between both networks.
    """

    inputs: dict[str, Range]
    same_class: FiniteFloat
    least_cosine: FiniteFloat
    checks: int

    @property
    def within_tolerance(self) -> bool:
        """Whether the error is small enough to use int8 by default."""
        return (
            self.checks >= MIN_CHECK_IMAGES
            and self.same_class >= MIN_SAME_CLASS
            and self.least_cosine >= MIN_COSINE
        )

"""Probabilities that mean what they say: one temperature for all logits (Guo et al., 2017).

Knows logits and labels; nothing of networks or images.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.base_model import Frozen

BINS = 15
COLDEST, HOTTEST = 0.25, 4.0
"""Where a few images are all hits, or all misses, they would have no bound to their confidence."""


class Calibration(Frozen):
    """The temperature that logits are divided by, and what it does to held-out probabilities.

    It is fitted on the validation images, those of its study where the run is a final one.
    `error` is the expected calibration error over 15 bins of equal width, `loss` the cross
    entropy; both on the run's test images, before and after.
    """

    temperature: float
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross entropy on these images, from 1/4 to 4.

    Args:
        logits: [N, classes], of images that were not trained on.
        labels: int64 [N].

    """
    logits, labels = logits.double(), labels.long()
    log_temperature = torch.zeros((), dtype=torch.float64, device=logits.device)
    with torch.enable_grad():
        log_temperature.requires_grad_()
        optimizer = torch.optim.LBFGS(
            [log_temperature], max_iter=100, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            optimizer.zero_grad()
            loss = functional.cross_entropy(logits / log_temperature.exp(), labels)
            loss.backward()
            return loss.item()

        optimizer.step(closure)
    return min(max(log_temperature.exp().item(), COLDEST), HOTTEST)


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error: how far confidence is from accuracy, averaged over images.

    Images are put into 15 bins of equal width by the probability of their likeliest class
    (Naeini et al., 2015).
    """
    confidence, chosen = logits.double().softmax(1).max(1)
    hit = (chosen == labels).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = torch.zeros(BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, hit - confidence)
    return (gap.abs().sum() / len(labels)).item()


def describe(logits: Tensor, labels: Tensor, temperature: float) -> Calibration:
    """What this temperature does to the probabilities of images it was not fitted on."""
    scaled = logits / temperature
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(logits, labels),
        error_after=calibration_error(scaled, labels),
        loss_before=functional.cross_entropy(logits.double(), labels).item(),
        loss_after=functional.cross_entropy(scaled.double(), labels).item(),
    )

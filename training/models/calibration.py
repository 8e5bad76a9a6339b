"""Calibration of probabilities by temperature scaling (Guo et al., 2017).

Works on logits and labels; independent of networks and images.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.models.measurements import Calibration

BINS = 15
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.25, 4.0
"""Bounds for small sets: if all predictions are right, or all wrong, the loss has no minimum."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature from 1/4 to 4 that minimises cross entropy (Guo et al., 2017).

    Args:
        logits: [N, classes], of images that the network was not trained on.
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
    return min(max(log_temperature.exp().item(), MIN_TEMPERATURE), MAX_TEMPERATURE)


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Compute the expected calibration error (Naeini et al., 2015), in [0, 1].

    Images are binned by the probability of their likeliest class, in 15 bins of equal width. The
    error is the difference of confidence and accuracy in a bin, averaged over images.

    Args:
        logits: [N, classes].
        labels: int64 [N].

    """
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == labels).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = torch.zeros(BINS, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, bins, correct - confidence)
    return (gap.abs().sum() / len(labels)).item()


def describe(logits: Tensor, labels: Tensor, temperature: float) -> Calibration:
    """Measure the effect of a temperature on images that it was not fitted on.

    Args:
        logits: [N, classes], at temperature 1.
        labels: int64 [N].
        temperature: as `fit_temperature` returned it.

    """
    scaled = logits / temperature
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(logits, labels),
        error_after=calibration_error(scaled, labels),
        loss_before=functional.cross_entropy(logits.double(), labels).item(),
        loss_after=functional.cross_entropy(scaled.double(), labels).item(),
    )

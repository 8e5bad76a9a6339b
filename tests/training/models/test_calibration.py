"""Temperature scaling and the expected calibration error."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.models.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    calibration_error,
    describe,
    fit_temperature,
)


def drawn(count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw calibrated logits and their labels, then scale the logits by `temperature`."""
    generator = torch.Generator().manual_seed(0)
    calibrated = 2 * torch.randn(count, 10, generator=generator)
    labels = torch.multinomial(calibrated.softmax(1), 1, generator=generator).squeeze(1)
    return calibrated * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_one_the_logits_were_scaled_by(temperature: float) -> None:
    assert fit_temperature(*drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_fitted_temperature_minimises_the_loss(temperature: float) -> None:
    logits, labels = drawn(2_000, temperature)
    found = fit_temperature(logits, labels)
    least = functional.cross_entropy(logits / found, labels)
    for near in (0.97 * found, 1.03 * found):
        assert functional.cross_entropy(logits / near, labels) > least


def test_the_temperature_is_bounded_if_all_predictions_are_right_or_all_wrong() -> None:
    logits = 5 * torch.eye(4).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    for given in (labels, (labels + 1) % 4):
        assert fit_temperature(logits, given) == (
            MIN_TEMPERATURE if given is labels else MAX_TEMPERATURE
        )


def test_the_calibration_error_equals_a_calculation_by_hand() -> None:
    # Four images at 0.9, three of them right; one at 0.6, wrong: (|3 - 3.6| + |0 - 0.6|) / 5.
    confident, doubtful = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.6, 0.4]).log()
    logits = torch.stack([confident] * 4 + [doubtful])
    assert calibration_error(logits, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(0.24)


def test_certain_predictions_have_error_0_if_right_and_1_if_wrong() -> None:
    logits = 100 * torch.eye(3)
    assert calibration_error(logits, torch.arange(3)) == pytest.approx(0)
    assert calibration_error(logits, torch.tensor([1, 2, 0])) == pytest.approx(1)


def test_before_is_measured_at_temperature_1_and_after_at_the_given_one() -> None:
    logits, labels = drawn(20_000, 3.0)
    made = describe(logits, labels, 3.0)
    assert made.temperature == 3.0
    assert made.error_before == calibration_error(logits, labels) > 0.1
    assert made.error_after == calibration_error(logits / 3.0, labels) < 0.02
    assert made.loss_before > made.loss_after

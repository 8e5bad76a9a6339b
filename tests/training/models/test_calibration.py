"""The temperature, and how far confidence is from accuracy."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.models.calibration import (
    COLDEST,
    HOTTEST,
    calibration_error,
    describe,
    fit_temperature,
)


def drawn(count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits that are `temperature` times too large, and labels drawn from what they mean."""
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(count, 10, generator=generator)
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator).squeeze(1)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_it_has_the_least_loss(temperature: float) -> None:
    logits, labels = drawn(2_000, temperature)
    found = fit_temperature(logits, labels)
    least = functional.cross_entropy(logits / found, labels)
    for near in (0.97 * found, 1.03 * found):
        assert functional.cross_entropy(logits / near, labels) > least


def test_labels_that_are_all_hit_or_all_missed_do_not_make_it_sure_without_bound() -> None:
    logits = 5 * torch.eye(4).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    for given in (labels, (labels + 1) % 4):
        assert fit_temperature(logits, given) == (COLDEST if given is labels else HOTTEST)


def test_the_error_counted_by_hand() -> None:
    # Four images at 0.9, three of them right; one at 0.6, wrong: (|3 - 3.6| + |0 - 0.6|) / 5.
    confident, doubtful = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.6, 0.4]).log()
    logits = torch.stack([confident] * 4 + [doubtful])
    assert calibration_error(logits, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(0.24)


def test_sure_and_right_is_no_error_sure_and_wrong_is_all_of_it() -> None:
    logits = 100 * torch.eye(3)
    assert calibration_error(logits, torch.arange(3)) == pytest.approx(0)
    assert calibration_error(logits, torch.tensor([1, 2, 0])) == pytest.approx(1)


def test_before_is_at_temperature_one_and_after_is_at_the_one_given() -> None:
    logits, labels = drawn(20_000, 3.0)
    made = describe(logits, labels, 3.0)
    assert made.temperature == 3.0
    assert made.error_before == calibration_error(logits, labels) > 0.1
    assert made.error_after == calibration_error(logits / 3.0, labels) < 0.02
    assert made.loss_before > made.loss_after

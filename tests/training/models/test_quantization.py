"""Activation ranges, and the error of rounding to int8."""

import pytest
import torch
from torch import Tensor, nn

from tests.support.factories import network
from training.models.blocknet import QUANTIZED
from training.models.measurements import ActivationRanges
from training.models.quantization import STEPS, fake_quantized, measure

IMAGES = torch.randint(
    0, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def inputs_of(name: str, net: nn.Module, images: Tensor) -> Tensor:
    """Return the input of a module of the network."""
    seen: list[Tensor] = []
    module = net.get_submodule(name)
    module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    net(images)
    return seen[0]


@pytest.fixture(scope="module")
def measured() -> ActivationRanges:
    found = measure(network(3, batch_norm=True).eval(), IMAGES[:40], IMAGES[40:])
    assert found
    return found


def test_ranges_contain_all_inputs_of_the_training_images_and_0_is_a_step(
    measured: ActivationRanges,
) -> None:
    assert tuple(measured.inputs) == QUANTIZED
    for name, (smallest, largest) in measured.inputs.items():
        seen = inputs_of(name, network(3, batch_norm=True).eval(), IMAGES[:40])
        step = (largest - smallest) / STEPS
        assert smallest - step <= seen.min() <= seen.max() <= largest + step
        assert -smallest / step == pytest.approx(round(-smallest / step), abs=1e-4)


@torch.inference_mode()
def test_fake_quantisation_rounds_a_copy_to_256_values_and_keeps_the_network(
    measured: ActivationRanges,
) -> None:
    net = network(3, batch_norm=True).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    other = fake_quantized(net, measured.inputs)
    for name in QUANTIZED:
        convolution = other.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        assert all(len(channel.unique()) <= STEPS for channel in convolution.weight)
        inputs = inputs_of(name, other, IMAGES[:5])
        assert 20 < len(inputs.unique()) <= STEPS + 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_error_of_rounding_is_measured(measured: ActivationRanges) -> None:
    assert measured.checks == 20
    assert 0.99 < measured.least_cosine < 1
    assert measured.same_class > 0.8
    assert not measured.within_tolerance  # too few checks


@pytest.mark.parametrize(
    ("same", "cosine", "checks", "within_tolerance"),
    [(0.995, 0.999, 500, True), (0.994, 1, 2500, False), (1, 0.998, 2500, False)],
)
def test_within_tolerance_needs_enough_checks_and_both_thresholds(
    same: float, cosine: float, checks: int, within_tolerance: bool
) -> None:
    found = ActivationRanges(inputs={}, same_class=same, least_cosine=cosine, checks=checks)
    assert found.within_tolerance == within_tolerance


def test_a_network_of_two_blocks_has_two_ranges() -> None:
    found = measure(network(2).eval(), IMAGES[:4], IMAGES[4:8])
    assert found
    assert tuple(found.inputs) == QUANTIZED[:2]


def test_without_images_there_are_no_ranges() -> None:
    assert measure(network(2).eval(), IMAGES[:0], IMAGES) is None

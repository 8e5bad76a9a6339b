"""Tests of the optimizers: Adam, AdamW, and Muon for convolution kernels."""

import pytest
import torch
from torch import nn

from tests.support.factories import network
from training.experiments.config import Config
from training.trainer.optimizers import Muon, build_optimizers, orthogonalize

MUON = Config(optimizer="muon", decay_decoupled=True)


@pytest.mark.parametrize("shape", [(32, 27), (64, 288), (256, 2304), (8, 8)])
def test_singular_values_become_about_1(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.median().item() == pytest.approx(1, abs=0.3)
    assert values.max() < 1.4


def test_singular_vectors_do_not_change() -> None:
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalize(matrix) @ right.T
    assert (found - found.diag().diag()).abs().max() < 0.05
    assert found.diag().min() > 0.5


def test_a_step_of_muon_is_as_long_as_that_of_adamw() -> None:
    """Its root mean square is 0.2 learning rates for any size of the gradient."""
    for size in (1e-6, 1e3):
        kernel = nn.Parameter(torch.zeros(64, 32, 3, 3))
        kernel.grad = size * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
        Muon([kernel], 0.01, scale=3.0, weight_decay=0.0).step()
        mean_square = kernel.detach().square().mean()
        # 64 singular values near 1 spread over a matrix of 64 x 288
        assert mean_square.sqrt().item() == pytest.approx(0.2 * 3.0 * 0.01, rel=0.2)


def test_weight_decay_of_muon_is_decoupled() -> None:
    kernel = nn.Parameter(torch.ones(4, 4, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    Muon([kernel], 0.1, scale=1.0, weight_decay=0.5).step()
    assert torch.allclose(kernel, torch.tensor(0.95))


@pytest.mark.parametrize("config", [Config(), Config(decay_decoupled=True), MUON])
def test_every_parameter_belongs_to_one_optimizer(config: Config) -> None:
    built = network()
    held = [
        id(one)
        for optimizer in build_optimizers(built, config)
        for group in optimizer.param_groups
        for one in group["params"]
    ]
    assert sorted(held) == sorted(id(one) for one in built.parameters())


def test_muon_optimizes_the_convolution_kernels_only() -> None:
    adam, muon = build_optimizers(network(), MUON)
    assert isinstance(adam, torch.optim.AdamW)
    assert {one.ndim for group in muon.param_groups for one in group["params"]} == {4}
